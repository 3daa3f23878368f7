"""`nanoclaw read`: what is said in a group, whatever its platform."""

import json
import time
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import typer

from nanoclaw.cli.reading import database
from nanoclaw.cli.showing import say
from nanoclaw.clock import iso
from nanoclaw.config import Home, load_settings, machine_timezone
from nanoclaw.groups import find_group, load_groups
from nanoclaw.store import conversation
from nanoclaw.store.conversation import Line, Place

_LOOK_SECONDS: Final = 0.5  # a person reads along
_AT_ONCE: Final = 100


def read(
    context: typer.Context,
    folder: Annotated[str, typer.Argument(help="A group, by folder or jid.")] = "main",
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last things said.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is said.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs, an object a line.")] = False,
) -> None:
    """Read a group's conversation, on any platform."""
    home: Home = context.obj
    group = find_group(load_groups(home.registered_groups), folder)
    zone = ZoneInfo(load_settings(home).timezone or machine_timezone())
    shown: set[tuple[str, int]] = set()
    with database(home) as db:
        found = conversation.lines(db, group.jid, Place(), lines)
        while True:
            for line in found:
                if (line.of, line.id) not in shown:
                    shown.add((line.of, line.id))
                    print(json.dumps(line_json(line), ensure_ascii=False), flush=True) if as_json else _show(line, zone)
            if not follow:
                return
            time.sleep(_LOOK_SECONDS)
            found = conversation.lines(db, group.jid, Place(), _AT_ONCE)


def line_json(line: Line) -> dict[str, Any]:
    """One thing said, as programs get it. `sender` null: the assistant."""
    return {
        "of": line.of,
        "id": line.id,
        "at": iso(line.at),
        "sender": line.sender or None,
        "text": line.text,
        "files": [file.name for file in line.files],
        "deleted": line.deleted,
        "state": line.state,
        "run": line.run_id,
    }


def _show(line: Line, zone: ZoneInfo) -> None:
    about = "" if line.state in (None, "sent") else f" ({line.state})"
    say(f"{line.at.astimezone(zone):%d %b %H:%M} {line.sender or 'assistant'}{about}:")
    text = "(deleted)" if line.deleted else line.text
    for row in [*text.splitlines(), *(f"[{file.name}]" for file in line.files)]:
        say(f"  {row}")
