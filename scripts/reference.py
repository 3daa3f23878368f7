"""Writes docs/reference/ from the code: what is there is replaced, but for what stands by hand in errors.md.

python scripts/reference.py            write
python scripts/reference.py --check    say what is out of date; exit 1 if anything is
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import typer.main
from typer.core import TyperArgument

from nanoclaw import cli, config, metrics

ROOT: Final = Path(__file__).resolve().parents[1]
PAGES: Final = ROOT / "docs" / "reference"
SOURCE: Final = ROOT / "src" / "nanoclaw"
GENERATED: Final = "<!-- Written by scripts/reference.py: `make docs`. -->"
BEGIN: Final = "<!-- by hand -->"
END: Final = "<!-- /by hand -->"

FOR_PEOPLE: Final = frozenset((
    "ConfigError", "StoreError", "HostError", "NoHostError", "SandboxError", "MountError", "CredentialError",
    "BackupError",
))  # fmt: skip
"""What people meet besides errors of usage, which commands explain by themselves."""
SHORTEST: Final = 12
"""Characters that the same part of a sentence must have for the sentence to be known by it."""


def main() -> int:
    """Answers the exit code."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run `make docs`")  # noqa: T201
        return 1 if stale else 0
    PAGES.mkdir(exist_ok=True)
    for path in stale:
        path.write_text(pages()[path], encoding="utf-8")
    return 0


@cache
def pages() -> dict[Path, str]:
    """Every page as it should be."""
    return {
        PAGES / "cli.md": "\n".join(_command_line()),
        PAGES / "configuration.md": "\n".join(_configuration()),
        PAGES / "metrics.md": "\n".join(_metrics()),
        PAGES / "errors.md": "\n".join(_errors()),
    }


def _table(*rows: tuple[str, ...]) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield f"| {' | '.join(cell.replace('|', '¦').replace(chr(10), ' ') for cell in row)} |"
        if number == 0:
            yield "|" + "---|" * len(row)


# --- the command line


def _command_line() -> Iterator[str]:
    yield f"# The command line\n\n{GENERATED}\n"
    yield "`nanoclaw [--home DIR] COMMAND`. How commands behave, and what programs may rely on in what they print,"
    yield "is in [SPEC.md](../SPEC.md#5-command-line); what an error means, in [errors.md](errors.md).\n"
    root = typer.main.get_command(cli.app)
    yield from _parameters(root)
    yield "## Exit codes\n"
    yield from _table(("code", "meaning"), *exit_codes())
    yield ""
    for name, command in commands(root):
        yield f"## `{name}`\n"
        yield f"{_sentence(command.help)}\n"
        yield f"`{_usage(name, command)}`\n"
        yield from _parameters(command)


def commands(command: Any, path: str = "nanoclaw") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Every command by its whole name."""
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from commands(child, f"{path} {name}")
        elif not child.hidden:
            yield f"{path} {name}", child


def exit_codes() -> list[tuple[str, str]]:
    """As the package's description lists them."""
    listed = re.search(r"Exit codes: (.*?)\.\n", f"{cli.__doc__}\n", re.DOTALL)
    assert listed, "the description of nanoclaw.cli lists the exit codes"
    codes = [entry.strip().partition(" ") for entry in " ".join(listed[1].split()).split("·")]
    return [(code, meaning) for code, _, meaning in codes]


def _parameters(command: Any) -> Iterator[str]:  # noqa: ANN401
    rows = [_parameter(each) for each in command.params if not _everywhere(each)]
    if rows:
        yield from _table(("", "type", "default", "meaning"), *rows)
        yield ""


def _everywhere(parameter: Any) -> bool:  # noqa: ANN401
    return bool({"--help", "--install-completion", "--show-completion"} & {*parameter.opts})


def _parameter(parameter: Any) -> tuple[str, str, str, str]:  # noqa: ANN401
    if isinstance(parameter, TyperArgument):
        names = [_metavar(parameter)]
    else:
        names = [*parameter.opts, *parameter.secondary_opts]
    shown = ", ".join(f"`{name}`" for name in names)
    return shown, _kind(parameter), _default(parameter), _sentence(parameter.help)


def _metavar(argument: TyperArgument) -> str:
    return argument.metavar or str(argument.name).upper()


def _usage(name: str, command: Any) -> str:  # noqa: ANN401
    arguments = [each for each in command.params if isinstance(each, TyperArgument)]
    shown = [_metavar(each) if each.required else f"[{_metavar(each)}]" for each in arguments]
    options = ["[OPTIONS]"] if len(arguments) < len(command.params) else []
    return " ".join([name, *options, *shown])


def _kind(parameter: Any) -> str:  # noqa: ANN401
    kind = parameter.type_descriptor.annotation
    if get_origin(kind) is list:
        return f"{_type(get_args(kind)[0])}, again and again"
    return "–" if kind is bool else _type(kind)


def _default(parameter: Any) -> str:  # noqa: ANN401
    if parameter.required:
        return "required"
    if parameter.default is True:
        return f"`{parameter.opts[0]}`"
    return "–" if parameter.default in (None, False, "", [], ()) else f"`{parameter.default}`"


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


# --- configuration


def _configuration() -> Iterator[str]:
    yield f"# Configuration\n\n{GENERATED}\n"
    yield "## `nanoclaw.toml`\n"
    yield "Every key has a default; a missing file means all of them. An unknown key, a wrong type or a broken file"
    yield "stops the start with the file, the key and the nearest right one. Settings are read when the host starts.\n"
    rows = [_setting(name, *found) for name, found in settings().items()]
    yield from _table(("key", "type", "default", "meaning"), *rows)
    yield "\n## `.env`\n"
    yield "Secrets, by name; any other name is ignored. How the file is written, and what a group's own is, says"
    yield "[SPEC.md](../SPEC.md#3-secrets-env).\n"
    yield from _table(("name", "meaning"), *((f"`{name}`", meaning) for name, meaning in config.SECRETS.items()))
    yield "\n## `registered_groups.json`\n"
    yield "The fields of a group are listed in [SPEC.md](../SPEC.md#4-groups-registered_groupsjson).\n"


def settings() -> dict[str, tuple[Any, object, str]]:
    """Every key with its type, its default and what its docstring says; those of tables with a dot."""
    found: dict[str, tuple[Any, object, str]] = {}
    said = _docstrings(SOURCE / "config" / "settings.py")
    for field in fields(config.Settings):
        value = getattr(config.Settings(), field.name)
        if not is_dataclass(value):
            kind = get_type_hints(config.Settings)[field.name]
            found[field.name] = (kind, value, said.get(("Settings", field.name), ""))
            continue
        hints = get_type_hints(type(value))
        for inner in fields(value):
            meaning = said.get((type(value).__name__, inner.name), "")
            found[f"{field.name}.{inner.name}"] = (hints[inner.name], getattr(value, inner.name), meaning)
    return found


def _docstrings(path: Path) -> dict[tuple[str, str], str]:
    """What stands below each field of each class."""
    found: dict[tuple[str, str], str] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            for field, below in zip(node.body, node.body[1:], strict=False):
                match field, below:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(text))),
                    ):
                        found[node.name, name] = _sentence(text)
                    case _:
                        pass
    return found


def _setting(name: str, kind: Any, default: object, meaning: str) -> tuple[str, str, str, str]:  # noqa: ANN401
    return f"`{name}`", _type(kind), f"`{json.dumps(default)}`", meaning


def _type(kind: Any) -> str:  # noqa: ANN401
    if get_origin(kind) is Literal:
        return " or ".join(f"`{each}`" for each in get_args(kind))
    if get_origin(kind) is tuple:
        return "list of text"
    return {str: "text", bool: "true, false", int: "whole number", float: "number", Path: "path"}[kind]


# --- metrics


def _metrics() -> Iterator[str]:
    yield f"# Metrics\n\n{GENERATED}\n"
    yield "`GET /metrics` at the page's address, in Prometheus' text format. The page's key opens it, as cookie or as"
    yield "`Authorization: Bearer`. Times are in seconds; counts begin anew with each start of the host.\n"
    rows = (
        (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels) or "–", meaning)
        for name, (kind, meaning, labels) in metrics.METRICS.items()
    )
    yield from _table(("name", "kind", "labels", "meaning"), *rows)
    yield ""


# --- errors


def _errors() -> Iterator[str]:
    by_hand = hand_written()
    yield f"# Errors\n\n{GENERATED}\n"
    yield "Commands print what is wrong and, after `→`, what to do. Below are the sentences, with `…` for what varies."
    yield "Sentences of sandboxes and sign-ins also reach the chat, as the answer that did not come.\n"
    yield f"{BEGIN}\n{by_hand.strip()}\n{END}\n"
    rest = {sentence: cure for _, fragment, sentence, cure in sentences() if fragment not in by_hand}
    yield "## Everything else that a program of ours may say\n"
    yield from _table(("sentence", "cure"), *((f"`{sentence}`", cure) for sentence, cure in sorted(rest.items())))
    yield ""


def hand_written() -> str:
    """What people wrote in errors.md."""
    path = PAGES / "errors.md"
    text = path.read_text(encoding="utf-8") if path.exists() else f"{BEGIN}\n{END}"
    return text.split(BEGIN, 1)[1].split(END, 1)[0]


def sentences() -> Iterator[tuple[str, str, str, str]]:
    """Where an error for people is made, the longest piece of its sentence that is always the same, the sentence, and
    the cure that goes with it."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id=name), args=[first, *more]) if name in FOR_PEOPLE:
                    pieces = [each.value for each in ast.walk(first) if isinstance(each, ast.Constant)]
                    longest = max((piece for piece in pieces if isinstance(piece, str)), key=len, default="")
                    if len(longest) >= SHORTEST:
                        where = f"{path.relative_to(SOURCE)}:{node.lineno}"
                        yield where, longest.strip(" :;,(`"), _text(first).replace("`", ""), _cure(more)
                case _:
                    pass


def _cure(rest: list[ast.expr]) -> str:
    cure = _text(rest[0]) if rest else ""
    return "as the line below it says" if cure == "…" else cure


def _text(node: ast.AST) -> str:
    """A text in the code, with `…` for what varies."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(value) for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
        case _:
            return "…"


if __name__ == "__main__":
    sys.exit(main())
