"""Changing `nanoclaw.toml` as a person would: one line, comments and everything else left as they are."""

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final, cast

from nanoclaw.atomic import replace_file
from nanoclaw.config import Home
from nanoclaw.errors import ConfigError

Value = str | bool | int | float | tuple[str, ...]

_TABLE: Final = re.compile(r"\s*\[")
_MODE: Final = 0o644


def with_settings(text: str, values: Mapping[str, Value]) -> str:
    """The file's text with these settings in force.

    Args:
        text: the file so far.
        values: by key, those of a table with a dot: `sandbox.engine`.

    Raises:
        ConfigError: the file is written in a way that cannot be changed line by line.
    """
    wanted = _parsed(text)
    for key, value in values.items():
        table, _, name = key.rpartition(".")
        text = _with_line(text, table, name, f"{name} = {_toml(value)}")
        target = wanted.setdefault(table, {}) if table else wanted
        target[name] = list(value) if isinstance(value, tuple) else value
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        found = None
    if found != wanted:
        names = ", ".join(values)
        raise ConfigError(f"{names} cannot be written into nanoclaw.toml as it stands", "write it there by hand")
    return text


def change_settings(home: Home, values: Mapping[str, Value]) -> None:
    """Put these settings into the home's `nanoclaw.toml`; a host takes them up at its next start.

    Raises:
        ConfigError: see `with_settings`.
    """
    text = home.settings.read_text(encoding="utf-8") if home.settings.exists() else ""
    changed = with_settings(text, values)
    if changed != text:
        replace_file(home.settings, changed, _MODE)


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"nanoclaw.toml is not valid TOML: {error}", "correct the line it names") from error


def _with_line(text: str, table: str, name: str, line: str) -> str:
    """In the place of the key's line, else of the comment that shows its default, else at the end of its table."""
    lines = text.splitlines()
    start, end = _table_span(lines, table)
    if start is None:
        gap = [""] if lines and lines[-1].strip() else []
        return "\n".join([*lines, *gap, f"[{table}]", line]) + "\n"
    for pattern in (rf"\s*{re.escape(name)}\s*=", rf"\s*#\s*{re.escape(name)}\s*="):
        for number in range(start, end):
            if re.match(pattern, lines[number]):
                lines[number] = line
                return "\n".join(lines) + "\n"
    while end > start and not lines[end - 1].strip():
        end -= 1
    lines.insert(end, line)
    return "\n".join(lines) + "\n"


def _table_span(lines: list[str], table: str) -> tuple[int | None, int]:
    """From the line after the table's head to the next table; None: it has no head."""
    heads = [number for number, line in enumerate(lines) if _TABLE.match(line)]
    if not table:
        return 0, heads[0] if heads else len(lines)
    for number in heads:
        if re.match(rf"\s*\[\s*{re.escape(table)}\s*\]", lines[number]):
            return number + 1, next((head for head in heads if head > number), len(lines))
    return None, len(lines)


def _toml(value: Value) -> str:
    """JSON's texts, numbers and lists are TOML's."""
    return json.dumps(cast("Any", value), ensure_ascii=False).replace("\x7f", "\\u007f")
