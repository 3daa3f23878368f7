"""What people see in their terminals of what agents and chats wrote: every command that shows some of it."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from nanoclaw.groups import Entries, change_groups
from tests.attacks.campaign import SAY, Campaign
from tests.attacks.lab import ATTACKER
from tests.attacks.table import Row

HOSTILE: Final = "\x1b]0;owned\x07\x1b[2J\x9b31m\x08\u202egpj.exe\u2066x [/red] [link=file:///etc/passwd]"
"""Sets a terminal's title, clears it, colours it, turns the reading direction, and is no markup of rich's."""

_OBEYED: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TURNED: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_COMMANDS: Final = (
    *(
        ("runs", "list"),
        ("status",),
        ("groups", "list"),
        ("tasks", "list"),
        ("logs", ATTACKER),
        ("runs", "show", "{run}"),
    ),
    ("network", "log", ATTACKER),
)
_SECONDS: Final = 300.0  # a second or two, each for itself on an idle machine
_SHOWN: Final = "gpj.exe"


async def paint(attacked: Campaign) -> None:
    """Have hostile text come into the installation on every way there is, while the host runs."""
    said = await attacked.ask(ATTACKER, SAY + json.dumps(f"agent {HOSTILE}"))
    _judge(attacked.rows, attacked.engine, "an agent's reply", said, must_show=_SHOWN)
    said = await attacked.ask(ATTACKER, f"person {HOSTILE}")
    _judge(attacked.rows, attacked.engine, "a person's message", said, must_show=_SHOWN)
    task = {
        "type": "schedule_task",
        "prompt": f"task {HOSTILE}",
        "schedule_type": "cron",
        "schedule_value": "0 9 * * 1",
    }
    await attacked.client.post("/v1/commands", {**task, "target_group": ATTACKER})
    await attacked.attack("paint and kill runner")

    def rename(entries: Entries) -> None:
        entries[f"local:{ATTACKER}"]["name"] = f"name {HOSTILE}"

    change_groups(attacked.lab.world.home.registered_groups, rename)


def rows(attacked: Campaign) -> list[Row]:
    """What each command prints afterwards."""
    found: list[Row] = []
    with ThreadPoolExecutor(4) as threads:
        run = str(_painted_run(attacked))
        commands = [tuple(word.format(run=run) for word in command) for command in _COMMANDS]
        answers = list(threads.map(partial(_output, attacked), commands))
    for command, text in zip(commands, answers, strict=True):
        if text is not None:
            _judge(found, attacked.engine, f"nanoclaw {' '.join(command[:2])}", text)
    return found


def _painted_run(attacked: Campaign) -> int:
    """The run whose failure quotes what the agent had printed."""
    listed = json.loads(_output(attacked, ("runs", "list", "--json", "--limit", "200")) or "[]")
    hostile = [run["id"] for run in listed if _SHOWN in str(run["detail"])]
    return hostile[0] if hostile else listed[0]["id"]


def _output(attacked: Campaign, command: Sequence[str]) -> str | None:
    """Stdout and stderr; None: there is no such command."""
    argv = [sys.executable, "-m", "nanoclaw", "--home", str(attacked.lab.world.home.root), *command]
    done = subprocess.run(argv, capture_output=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL)
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    if "No such command" in text:
        return None
    return f"broken: {text[-200:]}" if "Traceback" in text else text


def _judge(rows: list[Row], engine: str, where: str, text: str, must_show: str = "") -> None:
    if must_show not in text:
        text = f"broken: {text}"
    if text.startswith("broken"):
        got = ascii(text)[:150]
    elif found := _OBEYED.search(text):
        got = f"the terminal obeys {found[0]!a}"
    else:
        got = "the reading direction is turned" if _TURNED.search(text) else "shown as text"
    rows.append(Row("terminal", f"terminal sequences in {where}", engine, ("shown as text",), got.lstrip("'")))
