"""`nanoclaw logs`: the host's log, or a group's last run, as a person reads it."""

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, TextIO, cast

import typer
from rich.console import Console
from rich.text import Text

from nanoclaw.config import Home
from nanoclaw.errors import NotFoundError
from nanoclaw.formatting import printable
from nanoclaw.groups import find_group, load_groups

_LOOK_SECONDS: Final = 0.3  # a person reads along
_COLOURS: Final = {"debug": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}
_NAMED: Final = frozenset({"timestamp", "level", "event", "at", "what"})


def logs(
    context: typer.Context,
    folder: Annotated[str | None, typer.Argument(help="A group, by folder or jid: its last run.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
    run: Annotated[int | None, typer.Option(metavar="ID", help="This run instead of the last one.")] = None,
    about: Annotated[
        str, typer.Option(metavar="WORD", help="Only events that begin so: `whatsapp`, `page`, `run`.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As they stand in the file.")] = False,
) -> None:
    """Show the host's log, or what the agent did in a group's last run."""
    home: Home = context.obj
    path = _path(home, folder, run)
    if not path.exists():
        raise NotFoundError(f"there is no log at {path}", "start the host: nanoclaw run")
    console = Console(highlight=False, soft_wrap=True)
    with _opened(path) as file:
        wanted = (line for line in file if _is_about(line, about))
        for line in deque(wanted, maxlen=lines):
            _show(console, line.rstrip("\n"), as_json=as_json)
        if follow:
            for line in _following(path, file):
                if _is_about(line, about):
                    _show(console, line, as_json=as_json)


def _opened(path: Path) -> TextIO:
    return path.open(encoding="utf-8", errors="replace")


def _path(home: Home, folder: str | None, run: int | None) -> Path:
    if run is not None:
        found = sorted(home.logs.glob(f"runs/*/{run:06d}-*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        if not found:
            raise NotFoundError(f"run {run} has no log", "see `nanoclaw runs list`; logs are kept for a while")
        return found[-1]
    return home.logs / "nanoclaw.log" if folder is None else _last_run(home, folder)


def _is_about(line: str, word: str) -> bool:
    return not word or f'"event": "{word}' in line


def _last_run(home: Home, name: str) -> Path:
    group = find_group(load_groups(home.registered_groups), name)
    found = sorted(home.run_logs(group.folder).glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise NotFoundError(f"{group.folder} has no run's log", "write to it first")
    return found[-1]


def _following(path: Path, file: TextIO) -> Iterator[str]:
    """What is appended, line by line, also after the log was rotated; until the reader ends it."""
    unfinished = ""
    while True:
        unfinished += file.readline()
        if unfinished.endswith("\n"):
            yield unfinished.rstrip("\n")
            unfinished = ""
            continue
        time.sleep(_LOOK_SECONDS)
        if path.exists() and not os.path.samestat(path.stat(), os.fstat(file.fileno())):
            file = _opened(path)


def _show(console: Console, line: str, *, as_json: bool) -> None:
    if as_json:
        print(line)
    else:
        console.print(_readable(line))


def _readable(line: str) -> Text:
    """One line for a terminal; what agents and people wrote loses its control characters."""
    try:
        loaded: Any = json.loads(line)
    except ValueError:
        loaded = None
    if not isinstance(loaded, dict):
        return Text(printable(line))
    entry = cast("dict[str, Any]", loaded)
    moment = str(entry.get("timestamp") or entry.get("at") or "").replace("T", " ")[:19]
    level = str(entry.get("level", ""))
    text = Text(f"{moment} ", style="dim")
    text.append(
        f"{printable(str(entry.get('event') or entry.get('what') or '')):<24} ", style=_COLOURS.get(level, "bold")
    )
    rest = (
        f"{key}={_value(value)}" for key, value in entry.items() if key not in _NAMED and value not in (None, "", [])
    )
    return text.append("  ".join(rest))


def _value(value: object) -> str:
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
