"""`nanoclaw runs`"""

import json
from datetime import timedelta
from typing import Annotated, Any, Final

import anyio
import typer

from nanoclaw.cli.reading import database
from nanoclaw.cli.showing import Table, say
from nanoclaw.client import Client
from nanoclaw.clock import SystemClock, iso
from nanoclaw.config import Home, load_settings
from nanoclaw.control import reply_json
from nanoclaw.errors import NotFoundError, UsageError
from nanoclaw.formatting import shorten
from nanoclaw.model import Folder, Run, RunId
from nanoclaw.store import conversation, outbox, runs
from nanoclaw.store.conversation import Lost
from nanoclaw.traces import trace_id

app = typer.Typer(help="What ran, why, how long and with which outcome.", no_args_is_help=True)

_MOST_LOST: Final = 200
_SHOWN: Final = 60  # characters

Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command("list")
def list_runs(
    context: typer.Context,
    group: Annotated[str | None, typer.Option(help="Only this group, by folder.")] = None,
    limit: Annotated[int, typer.Option(help="How many, the newest first.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the newest runs."""
    home: Home = context.obj
    with database(home) as db:
        found = runs.recent(db, limit, Folder(group) if group else None)
    if as_json:
        print(json.dumps([run_json(run) for run in found], indent=2, ensure_ascii=False))
        return
    table = Table(
        "id", "group", "provider", "state", "attempts", "began", "seconds", "tokens", "what went wrong", box=None
    )
    for run in found:
        shown = run_json(run)
        tokens = run.usage.input_tokens + run.usage.output_tokens
        cells = (
            run.id,
            run.folder,
            run.provider,
            run.state,
            run.attempt,
            shown["started_at"],
            None if shown["seconds"] is None else f"{shown['seconds']:.1f}",
            tokens,
        )
        table.add_row(*("" if cell is None else str(cell) for cell in cells), run.failure or "")
    table.show()


@app.command()
def show(context: typer.Context, run_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Show one run: what it answered with, what went wrong, and where its log lies."""
    home: Home = context.obj
    with database(home) as db:
        run = runs.get(db, RunId(run_id))
        if run is None:
            raise NotFoundError(f"there is no run {run_id}", "see `nanoclaw runs list`")
        replies: list[dict[str, Any]] = [
            {**reply_json(item, outbox.progress(db, item)), "state": item.state, "error": item.error}
            for item in outbox.of_run(db, run.id)
        ]
    logs = sorted(str(path) for path in home.run_logs(run.folder).glob(f"{run.id:06d}-*.jsonl"))
    trace = trace_id(home.installation(), run.id) if load_settings(home).traces.endpoint else None
    shown = {**run_json(run), "replies": replies, "logs": logs, "trace": trace}
    if as_json:
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    for key, value in shown.items():
        if key == "replies":
            for reply in replies:
                say(f"{reply['kind']} ({_how_far(reply)}): {reply['text']}")
                for file in reply["files"]:
                    say(f"  {file['name']}: {home.root / file['path']}")
        elif value not in (None, []):
            say(f"{key}: {value}")


def _how_far(reply: dict[str, Any]) -> str:
    """What became of a reply, and when it came how far."""
    steps = [f"{state} {at}" for state, at in reply["delivery"].items()]
    return ", ".join([reply["state"], *steps, *([reply["error"]] if reply["error"] else [])])


@app.command()
def retry(context: typer.Context, group: Annotated[str, typer.Argument(help="Folder or jid.")]) -> None:
    """Let a group's agent answer what is still unanswered, now."""

    async def ask() -> None:
        async with Client(context.obj) as client:
            await client.post("/v1/runs/retry", {"folder": group})

    anyio.run(ask)


@app.command()
def stop(
    context: typer.Context,
    group: Annotated[str | None, typer.Argument(help="Folder or jid.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Forget what waits in the group, too.")] = False,
    run: Annotated[int | None, typer.Option(metavar="ID", help="Instead of a group: this run and no other.")] = None,
) -> None:
    """End what a group's agent does at once; what it was asked counts as answered."""
    if (group is None) == (run is None):
        raise UsageError("say which: a group, or --run and a number", "see `nanoclaw runs list`")
    body = {"run": run} if group is None else {"folder": group, "all": everything}

    async def ask() -> dict[str, Any]:
        async with Client(context.obj) as client:
            return await client.post("/v1/runs/stop", body)

    ended = anyio.run(ask)
    print("Stopped." if ended["stopped"] else "Nothing was going on.")
    if ended["forgotten"]:
        print("What was waiting is forgotten, too.")


@app.command()
def undelivered(
    context: typer.Context,
    days: Annotated[int, typer.Option(min=1, help="How many days back.")] = 90,
    as_json: Json = False,
) -> None:
    """Show what was said and did not arrive, or of which nobody knows whether it did, the newest first."""
    home: Home = context.obj
    with database(home) as db:
        found = conversation.lost(db, SystemClock().now() - timedelta(days=days), _MOST_LOST)
    if as_json:
        print(json.dumps([lost_json(lost) for lost in found], indent=2, ensure_ascii=False))
        return
    table = Table("at", "chat", "run", "state", "why", "what", box=None)
    for lost in found:
        run = str(lost.run_id or "")
        table.add_row(iso(lost.at), lost.chat, run, lost.state, lost.error, shorten(lost.text, _SHOWN))
    table.show()


def lost_json(lost: Lost) -> dict[str, Any]:
    """A reply that did not arrive, or may not have, as programs get it."""
    return {
        "at": iso(lost.at),
        "chat": lost.chat,
        "kind": lost.kind,
        "run": lost.run_id,
        "state": lost.state,
        "error": lost.error,
        "text": lost.text,
    }


def run_json(run: Run) -> dict[str, Any]:
    """A run as `runs list --json` shows it."""
    seconds = (run.ended_at - run.started_at).total_seconds() if run.ended_at and run.started_at else None
    return {
        "id": run.id,
        "group": run.folder,
        "chat": run.chat,
        "cause": run.cause,
        "state": run.state,
        "attempts": run.attempt,
        "provider": run.provider,
        "messages": {"after": run.after_seq, "upto": run.upto_seq},
        "created_at": iso(run.created_at),
        "started_at": iso(run.started_at) if run.started_at else None,
        "ended_at": iso(run.ended_at) if run.ended_at else None,
        "seconds": seconds,
        "failure": run.failure,
        "detail": run.detail,
        "usage": {
            "input_tokens": run.usage.input_tokens,
            "cached_input_tokens": run.usage.cached_input_tokens,
            "output_tokens": run.usage.output_tokens,
            "cost_usd": run.usage.cost_usd,
        },
    }
