"""The page as an ASGI application, what goes on beside it, and its listening socket."""

import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final
from zoneinfo import ZoneInfo

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from nanoclaw.errors import HostError, NanoclawError, NotFoundError
from nanoclaw.services import Services
from nanoclaw.web import access
from nanoclaw.web.access import Guard
from nanoclaw.web.audit import audit_routes
from nanoclaw.web.connections import Connections
from nanoclaw.web.context import Context, rendered
from nanoclaw.web.errands import Errand
from nanoclaw.web.groups import group_routes
from nanoclaw.web.health import Health
from nanoclaw.web.live import Live
from nanoclaw.web.metrics import metrics_routes
from nanoclaw.web.overview import overview_routes
from nanoclaw.web.registration import registration_routes
from nanoclaw.web.runs import run_routes
from nanoclaw.web.settings import settings_routes
from nanoclaw.web.signins import sign_in_routes
from nanoclaw.web.tasks import task_routes
from nanoclaw.web.usage import usage_routes
from nanoclaw.web.whatsapp import whatsapp_routes

LOOPBACK: Final = "127.0.0.1"


class Page:
    """The page of one host."""

    def __init__(self, services: Services, status: Callable[[], Awaitable[dict[str, Any]]], zone: ZoneInfo) -> None:
        """Nothing happens before `run`.

        Args:
            services: the host's parts.
            status: what `nanoclaw status --json` tells.
            zone: in which times are shown.
        """
        self._context = Context(
            services=services,
            status=status,
            zone=zone,
            sign_in=Errand(),
            link=Errand(),
            connections=Connections(services.channels, services.clock),
            turned_away=deque(maxlen=access.KEPT),
        )

    async def run(self) -> None:
        """What goes on beside the requests; ends by cancellation."""
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._context.sign_in.run, name="sign-in")
            beside.start_soon(self._context.link.run, name="link to WhatsApp")
            beside.start_soon(self._context.connections.run, name="connections")

    def application(self, port: int, token: str) -> Starlette:
        """All its routes, behind the guard.

        Args:
            port: on which it is served; it belongs to the address that a browser must use.
            token: see `access.page_token`.
        """
        context = self._context
        guard = Middleware(Guard, token=token, port=port, clock=context.services.clock, turned_away=context.turned_away)
        return Starlette(
            routes=[
                *overview_routes(context),
                *group_routes(context),
                *settings_routes(context),
                *registration_routes(context),
                *run_routes(context),
                *task_routes(context),
                *sign_in_routes(context),
                *whatsapp_routes(context),
                *usage_routes(context),
                *audit_routes(context),
                Route("/events", Live(context.topics()).events),
                Route("/healthz", Health(context.services).answer),
                *metrics_routes(context.services),
                Route("/favicon.ico", _icon),
                Mount("/static", StaticFiles(packages=[("nanoclaw.web", "static")])),
            ],
            middleware=[guard],
            exception_handlers={NanoclawError: self._refusal},
        )

    async def _refusal(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, NanoclawError)
        status = 404 if isinstance(error, NotFoundError) else 400
        return rendered(request, "refusal.html", {"error": str(error), "hint": error.hint}, status=status)


async def _icon(_request: Request) -> Response:
    """What browsers ask for where no page names an icon."""
    return RedirectResponse("/static/icon.svg")


def listen(port: int) -> socket.socket:
    """A socket on loopback; port 0: any that is free.

    Raises:
        HostError: the port is taken.
    """
    listener = socket.socket(
        socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )  # named, so that asyncio sets no-delay
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise HostError(
            f"the page cannot be served on port {port}: {error.strerror}", "set page.port to another one, or to 0"
        ) from error
    return listener
