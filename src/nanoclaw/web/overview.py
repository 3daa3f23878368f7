"""What needs attention, and what goes on in each group."""

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nanoclaw.budget import day_of
from nanoclaw.clock import from_iso
from nanoclaw.credentials.accounts import SignIns, describe
from nanoclaw.errors import NanoclawError
from nanoclaw.model import RegisteredGroup
from nanoclaw.store import conversation, tasks, usage
from nanoclaw.store.conversation import GroupActivity, Lost
from nanoclaw.store.database import Connection
from nanoclaw.web.attention import Known, findings
from nanoclaw.web.context import Context, rendered
from nanoclaw.web.usage import totals

_LOST_DAYS: Final = timedelta(days=3)
_MOST_LOST: Final = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stored:
    activities: list[GroupActivity]
    lost: list[Lost]
    failing: list[tuple[str, str, int]]


def overview_routes(context: Context) -> list[Route]:
    """`/`, and the answers that did not arrive."""
    services = context.services

    async def overview(request: Request) -> Response:
        groups = sorted(services.groups.groups.values(), key=lambda group: (not group.is_main, group.folder))
        now = services.clock.now()
        today, _ = day_of(now, context.zone)
        stored = await services.database.read(_stored, groups, now - _LOST_DAYS)
        spent = await services.database.read(usage.by_day, today, context.zone)
        status = await context.status()
        known = Known(
            status=status,
            activities=stored.activities,
            lost=stored.lost,
            failing_tasks=stored.failing,
            sign_ins=await anyio.to_thread.run_sync(_sign_ins, context),
            free_bytes=(await anyio.to_thread.run_sync(shutil.disk_usage, services.home.root)).free,
        )
        values = {
            "findings": findings(known),
            "status": status,
            "since": from_iso(status["host"]["since"]),
            "groups": list(zip(groups, stored.activities, strict=True)),
            "today": next(iter(totals(spent, lambda _: "today")), None),
            "zone": context.zone,
        }
        return rendered(request, "overview.html", values)

    async def undelivered(request: Request) -> Response:
        since = services.clock.now() - timedelta(days=90)  # nothing is kept longer
        lost = await services.database.read(conversation.lost, since, _MOST_LOST)
        values = {"lost": lost, "groups": services.groups.groups, "zone": context.zone}
        return rendered(request, "undelivered.html", values)

    return [Route("/", overview), Route("/undelivered", undelivered)]


def _stored(db: Connection, groups: list[RegisteredGroup], since: datetime) -> _Stored:
    return _Stored(
        activities=[conversation.activity(db, group.folder, group.jid) for group in groups],
        lost=conversation.lost(db, since, _MOST_LOST),
        failing=[(task.id, task.prompt, task.failures) for task in tasks.existing(db) if task.failures],
    )


def _sign_ins(context: Context) -> SignIns | NanoclawError:
    try:
        return describe(context.services.home)
    except NanoclawError as error:
        return error
