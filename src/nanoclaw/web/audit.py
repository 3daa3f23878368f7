"""What was refused: requests of sandboxes, mailbox files, logins, and visitors of this page."""

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nanoclaw.groups import find_group
from nanoclaw.refusals import MOST_HOSTS, REASONS, kept_refusals, place
from nanoclaw.sandbox.proof import MEANINGS
from nanoclaw.store import refused
from nanoclaw.web.context import Context, rendered


def audit_routes(context: Context) -> list[Route]:
    """`/audit`"""
    services = context.services

    async def show(request: Request) -> Response:
        name = request.query_params.get("group", "")
        groups = list(services.groups.groups.values())
        chosen = [find_group(services.groups.groups, name)] if name else groups
        folders = [group.folder for group in chosen]
        hosts = await services.database.read(refused.hosts, MOST_HOSTS, folders[0] if name else None)
        kept = await anyio.to_thread.run_sync(kept_refusals, services.home, folders)
        values = {
            "groups": groups,
            "chosen": folders[0] if name else "",
            "hosts": [(each, place(each), REASONS.get(each.reason, each.reason)) for each in hosts],
            "files": kept.files,
            "kept": kept.files_in_all,
            "logins": kept.logins,
            "proofs": kept.proofs,
            "meanings": MEANINGS,
            "turned_away": [] if name else list(reversed(context.turned_away)),
            "registered": {group.folder for group in groups},
            "zone": context.zone,
        }
        return rendered(request, "audit.html", values)

    return [Route("/audit", show)]
