"""`nanoclaw status`"""

import json
from collections.abc import Generator
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import anyio
import typer

from nanoclaw.cli.showing import say
from nanoclaw.client import Client, NoHostError
from nanoclaw.clock import from_iso
from nanoclaw.config import Home, machine_timezone
from nanoclaw.formatting import spoken_time


def status(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False
) -> None:
    """What runs, what waits, what is wrong; without a host, what the database knows."""
    home: Home = context.obj
    found = anyio.run(_status, home)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    host = found["host"]
    say(f"host: runs since {_when(host['since'])} (process {host['pid']})" if host["running"] else "host: does not run")
    if host["problem"]:
        say(f"problem: {host['problem']}")
    if host["root"]:
        from nanoclaw.privacy import ROOT_HINT  # few hosts are root

        say(f"problem: the host is root; {ROOT_HINT}")
    sandbox = found["sandbox"]
    if sandbox["name"]:
        say(f"sandbox: {sandbox['name']}" + "".join(f"\n  lacks {lack}" for lack in sandbox["lacks"]))
    for proof in sandbox["proofs"]:
        if not proof["held"]:
            what = proof["problem"] or ", ".join(proof["failed"])
            say(f"problem: the sandbox of {proof['folder']} in {proof['sandbox']} did not hold: {what}")
    for problem in (sandbox["problem"], sandbox["warning"], found["groups_problem"]):
        if problem:
            say(f"problem: {problem}")
    say("".join(_messaging_lines(found)), end="")
    since = f" (the oldest message since {_when(found['oldest_message'])})" if found["oldest_message"] else ""
    say(f"waiting: {found['waiting']}{since}  running: {found['running']}  outbox: {found['outbox']}")
    for group in found["groups"]:
        say(f"  {group['folder']}: {group['name']} ({group['jid']}), {group['provider']}")


def _when(instant: str) -> str:
    return spoken_time(from_iso(instant), ZoneInfo(machine_timezone()))


def _messaging_lines(found: dict[str, Any]) -> Generator[str]:
    """How the channels stand, and which replies were lost."""
    for channel in found["channels"]:
        yield f"{_channel_line(channel)}\n"
    lost = found["undelivered"]
    if lost["failed"] or lost["unknown"]:
        yield f"problem: {lost['failed']} replies were not delivered, {lost['unknown']} may not have been\n"


def _channel_line(channel: dict[str, Any]) -> str:
    parts = [
        channel["state"],
        f"as {channel['account']}" if channel["account"] else "",
        f"since {_when(channel['since'])}" if channel["since"] else "",
        f"last message {_when(channel['last_inbound'])}" if channel["last_inbound"] else "",
        "; ".join(part for part in (channel["problem"], channel["hint"]) if part),
    ]
    return f"{channel['name']}: " + ", ".join(part for part in parts if part)


async def _status(home: Home) -> dict[str, Any]:
    try:
        async with Client(home) as client:
            return await client.get("/v1/status")
    except NoHostError:
        from nanoclaw.cli.status_without_host import status_without_host  # with much that a host knows by itself

        return status_without_host(home)
