"""Runs: what ran, why, how long, at what cost, and what the agent did step by step."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nanoclaw import intervention
from nanoclaw.errors import NotFoundError, UsageError
from nanoclaw.groups import find_group
from nanoclaw.model import Message, OutboxItem, Run, RunId
from nanoclaw.runlog import Log, logs_of, read_log
from nanoclaw.store import messages, outbox, runs
from nanoclaw.store.database import Connection
from nanoclaw.web.context import Context, rendered, see

_RUNS: Final = 50
_ASKED: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """What the database knows of a run."""

    run: Run
    asked: list[Message]
    """The last messages that it was given."""
    not_shown: int
    said: list[OutboxItem]
    is_last: bool
    """Whether nothing has ended in its group since."""


def run_routes(context: Context) -> list[Route]:
    """`/runs` and what is below it."""
    services = context.services
    database = services.database

    async def newest(request: Request) -> Response:
        folder = request.query_params.get("group")
        group = find_group(services.groups.groups, folder) if folder else None
        before = _before(request)
        found = await database.read(runs.recent, _RUNS + 1, group.folder if group else None, before)
        values = {
            "runs": found[:_RUNS],
            "older": found[_RUNS - 1].id if len(found) > _RUNS else None,
            "groups": list(services.groups.groups.values()),
            "chosen": group.folder if group else "",
            "newest": before is None,
            "zone": context.zone,
        }
        return rendered(request, "runs.html", values)

    async def one(request: Request) -> Response:
        told = await database.read(_told, _id(request))
        logs = await anyio.to_thread.run_sync(_attempts, services.home.run_logs(told.run.folder), told.run)
        values = {
            "told": told,
            "run": told.run,
            "attempts": logs,
            "zone": context.zone,
            "assistant": services.settings.assistant_name,
        }
        return rendered(request, "run.html", values)

    async def stop(request: Request) -> Response:
        run_id = _id(request)
        await intervention.stop_run(services, run_id)
        return see(f"/runs/{run_id}")

    return [
        Route("/runs", newest),
        Route("/runs/{run_id:int}", one),
        Route("/runs/{run_id:int}/stop", stop, methods=["POST"]),
    ]


def _id(request: Request) -> RunId:
    return RunId(int(request.path_params["run_id"]))


def _told(db: Connection, run_id: RunId) -> _Told:
    run = runs.get(db, run_id)
    if run is None:
        raise NotFoundError(f"there is no run {run_id}", "runs are forgotten after 90 days")
    asked, more = ([], 0) if run.task_id else messages.between(db, run.chat, run.after_seq, run.upto_seq, _ASKED)
    newest = runs.recent(db, 1, run.folder)
    return _Told(run=run, asked=asked, not_shown=more, said=outbox.of_run(db, run_id), is_last=newest[0].id == run_id)


def _attempts(directory: Path, run: Run) -> list[tuple[str, Log]]:
    return [(path.stem.rpartition("-")[2], read_log(path)) for path in logs_of(directory, run.id)]


def _before(request: Request) -> RunId | None:
    text = request.query_params.get("before")
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 18:
        raise UsageError("`before` is no run", "follow the link on the page")
    return RunId(int(text))
