"""From Markdown to what WhatsApp shows: `*bold*`, `_italic_`, `~strike~`, code, lists and quotes. Pure.

There are no headings, links with a text of their own, or tables: the first become bold lines, the second keep their
address in brackets, of the third each row becomes a line.
"""

import re
from collections.abc import Callable
from typing import Final

_FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})[^`\n]*$")
_CODE = re.compile(r"(?<!`)(`{1,3})(?!`)(.{1,500}?)(?<!`)\1(?!`)")  # bounded, as the rest: agents may write anything
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s+(\S.*)$")
_RULE = re.compile(r"^\s{0,3}([-*_])(\s*\1){2,}\s*$")
_BULLET = re.compile(r"^(\s*)[-*+]\s+(?:\[([ xX])\]\s+)?")
_RULED = re.compile(r":?-+:?")
_IMAGE = re.compile(r"!\[([^\]\n]{0,300})\]\(\s*<?([^\s()<>]+(?:\([^\s()]*\)[^\s()<>]*)*)>?(?:\s+\"[^\"\n]*\")?\s*\)")
_LINK = re.compile(r"\[([^\]\n]{1,300})\]\(\s*<?([^\s()<>]+(?:\([^\s()]*\)[^\s()<>]*)*)>?(?:\s+\"[^\"\n]*\")?\s*\)")
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^\s<>]+)>")
_URL = re.compile(r"https?://[^\s<>]+")
_BOTH = re.compile(r"(?<![*\w])\*\*\*(?=\S)([^*\n]+?)(?<=\S)\*\*\*(?![*\w])")
_BOLD = re.compile(r"\*\*(?=\S)(.{1,1000}?)(?<=\S)\*\*|(?<!\w)__(?=\S)(.{1,1000}?)(?<=\S)__(?!\w)")
_ITALIC = re.compile(r"(?<![*\w\\])\*(?=[^\s*])([^*\n]*?)(?<=[^\s*])\*(?![*\w])")
_STRIKE = re.compile(r"~~(?=\S)(.{1,1000}?)(?<=\S)~~")
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+.!~>|-])")
_HELD = re.compile("\x00(\\d+)\x00")
_STAR: Final = "\x01"  # stands for the star of bold, until single stars have become italic
_BOXES: Final = {" ": "☐ ", "x": "☑ ", "X": "☑ "}


def formatted(text: str) -> str:
    """An agent's Markdown as WhatsApp shows it; what is no Markdown stays as it is."""
    lines = text.replace("\x00", "").replace(_STAR, "").split("\n")
    found: list[str] = []
    at = 0
    while at < len(lines):
        if fence := _FENCE.match(lines[at]):
            end = _fence_end(lines, at, fence[2])
            found += ["```", *lines[at + 1 : end], "```"]
            at = end + 1
        elif _is_table(lines, at):
            end = _table_end(lines, at)
            found += _table(lines[at:end])
            at = end
        else:
            found.append(_line(lines[at]))
            at += 1
    return "\n".join(found)


def _fence_end(lines: list[str], start: int, mark: str) -> int:
    """Where the code ends; at the end of the text if nobody closes it."""
    for at in range(start + 1, len(lines)):
        closing = lines[at].strip()
        if closing.startswith(mark[0] * len(mark)) and not closing.strip(mark[0]):
            return at
    return len(lines)


def _line(line: str) -> str:
    if heading := _HEADING.match(line):
        inner = _inline(heading[1].rstrip().rstrip("#")).replace("*", "").strip()
        return f"*{inner}*" if inner else ""
    if _RULE.match(line):
        return "———"
    if bullet := _BULLET.match(line):
        mark = _BOXES.get(bullet[2] or "", "- ")
        return f"{bullet[1]}{mark}{_inline(line[bullet.end() :])}"
    return _inline(line)


def _inline(text: str) -> str:
    """Within one line. Code and addresses are held back while the rest is changed."""
    held: list[str] = []

    def hold(what: str) -> str:
        held.append(what)
        return f"\x00{len(held) - 1}\x00"

    text = _CODE.sub(lambda code: hold(f"`{code[2].strip() or code[2]}`"), text)
    text = _ESCAPE.sub(lambda escape: hold(escape[1]), text)
    text = _IMAGE.sub(lambda image: f"{image[1]} ({hold(image[2])})" if image[1] else hold(image[2]), text)
    text = _LINK.sub(lambda link: _linked(link[1], link[2], hold), text)
    text = _AUTOLINK.sub(lambda link: hold(link[1]), text)
    text = _URL.sub(lambda url: hold(url[0]), text)
    text = _BOTH.sub(rf"{_STAR}_\1_{_STAR}", text)
    text = _BOLD.sub(lambda bold: f"{_STAR}{bold[1] or bold[2]}{_STAR}", text)
    text = _ITALIC.sub(r"_\1_", text)
    text = _STRIKE.sub(r"~\1~", text).replace(_STAR, "*")
    while _HELD.search(text):
        text = _HELD.sub(lambda number: held[int(number[1])], text)
    return text


def _linked(text: str, address: str, hold: Callable[[str], str]) -> str:
    same = text.strip() == address or f"https://{text.strip()}" == address
    return hold(address) if same else f"{text} ({hold(address.removeprefix('mailto:'))})"


def _cells(line: str) -> list[str]:
    return [_inline(cell.strip()) for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _is_table(lines: list[str], at: int) -> bool:
    if "|" not in lines[at] or at + 1 >= len(lines) or "|" not in lines[at + 1]:
        return False
    return all(_RULED.fullmatch(cell.strip()) for cell in lines[at + 1].strip().strip("|").split("|"))


def _table_end(lines: list[str], start: int) -> int:
    end = start + 2
    while end < len(lines) and "|" in lines[end] and lines[end].strip():
        end += 1
    return end


def _table(lines: list[str]) -> list[str]:
    """One line a row: its first cell in bold, then each other one after the name of its column."""
    header = _cells(lines[0])
    found: list[str] = []
    for line in lines[2:]:
        first, *others = _cells(line)
        named = [f"{name}: {cell}" if name else cell for name, cell in zip(header[1:], others, strict=False) if cell]
        title = f"*{first.replace('*', '')}*" if first else ""
        found.append("- " + " — ".join(part for part in (title, "; ".join(named)) if part))
    return found or ["- " + ", ".join(header)]
