"""`/metrics`: what the host counts, for Prometheus. The page's key opens it, as cookie or as bearer token."""

import anyio.to_thread
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nanoclaw.credentials.accounts import describe
from nanoclaw.errors import NanoclawError
from nanoclaw.metrics import CONTENT_TYPE, Logins, Present
from nanoclaw.services import Services
from nanoclaw.store.waiting import what_waits

log = structlog.stdlib.get_logger()


def metrics_routes(services: Services) -> list[Route]:
    """The route."""

    async def metrics(_request: Request) -> Response:
        return Response(services.metrics.exposition(await _present(services)), media_type=CONTENT_TYPE)

    return [Route("/metrics", metrics)]


async def _present(services: Services) -> Present:
    waiting = await services.database.read(what_waits)
    return Present(
        now=services.clock.now(),
        waiting=waiting.waiting,
        running=waiting.running,
        oldest_message=waiting.oldest_message,
        outbox=waiting.outbox,
        channels={channel.name: channel.state() for channel in services.channels},
        logins=await anyio.to_thread.run_sync(_logins, services),
        spans=services.traces.counts(),
    )


def _logins(services: Services) -> Logins:
    """The ChatGPT logins; none while their files are broken, which others tell."""
    try:
        accounts = describe(services.home).accounts
    except NanoclawError as error:
        log.debug("metrics.no_logins", problem=str(error))
        return {}
    return {each.where: (each.last_refresh, each.expires_at) for each in accounts if each.method == "chatgpt"}
