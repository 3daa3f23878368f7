"""What every page needs: the host's parts, the templates, and how times and numbers look."""

import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import uuid4
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from nanoclaw.channels.base import Channel
from nanoclaw.channels.whatsapp.linking import LinkEvent
from nanoclaw.clock import iso
from nanoclaw.errors import MailboxError, UsageError
from nanoclaw.formatting import printable, shorten
from nanoclaw.ipc.protocol import parse
from nanoclaw.providers import PROVIDERS
from nanoclaw.pulse import Pulse
from nanoclaw.services import Services
from nanoclaw.signin.events import SignInEvent
from nanoclaw.store.conversation import MOST_TEXT
from nanoclaw.web.access import TurnedAway
from nanoclaw.web.connections import Connections
from nanoclaw.web.errands import Errand

NAVIGATION: Final = (
    ("/", "Overview"),
    ("/groups", "Groups"),
    ("/runs", "Runs"),
    ("/tasks", "Tasks"),
    ("/signins", "Sign-ins"),
    ("/whatsapp", "WhatsApp"),
    ("/usage", "Usage"),
    ("/audit", "Audit"),
)
"""Every section's address and name, as they stand in the page's head."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What the pages work with."""

    services: Services
    status: Callable[[], Awaitable[dict[str, Any]]]
    """As `nanoclaw status --json` has it."""
    zone: ZoneInfo
    sign_in: Errand[SignInEvent]
    link: Errand[LinkEvent]
    """To WhatsApp."""
    connections: Connections
    turned_away: deque[TurnedAway]

    def topics(self) -> Mapping[str, tuple[Pulse, ...]]:
        """What can change, and what tells of it. A part of a page names in `data-live` the topics it is about."""
        pulses = self.services.pulses
        return {
            "runs": (pulses.runs,),
            "activity": (pulses.activity,),
            "outbox": (pulses.outbox, pulses.runs),
            "tasks": (pulses.tasks,),
            "groups": (self.services.groups.changed,),
            "channels": tuple(channel.changed for channel in self.services.channels),
            "signin": (self.sign_in.changed,),
            "link": (self.link.changed,),
        }

    def channel_named(self, name: str) -> Channel | None:
        """One of the host's channels."""
        return next((channel for channel in self.services.channels if channel.name == name), None)

    async def tell(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do what a mailbox of `main` could ask for, with the same checks and the owner's power.

        Raises:
            UsageError: it is refused; says why.
        """
        try:
            parsed = parse(json.dumps(command).encode())
            return await self.services.verbs.apply_for_owner(f"page/{uuid4().hex}", parsed)
        except MailboxError as error:
            raise UsageError(str(error)) from error


def _moment(instant: datetime, zone: ZoneInfo, *, seconds: bool = False) -> Markup:
    local = instant.astimezone(zone)
    shown = f"{local:%H:%M:%S}.{local.microsecond // 100_000}" if seconds else f"{local:%d %b %H:%M}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        iso(instant), f"{local:%Y-%m-%d %H:%M:%S %Z}", shown
    )


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _money(value: float | None) -> str:
    """US dollars; a provider that tells no price costs nothing that could be shown."""
    if value is None:
        return "not told"
    return f"{value:.4f}" if 0 < value < 1 else f"{value:.2f}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("nanoclaw.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = cast("dict[str, Any]", environment.filters)
    filters.update(moment=_moment, number=_number, money=_money, words=_words, printable=printable, shorten=shorten)
    cast("dict[str, Any]", environment.globals).update(
        navigation=NAVIGATION,
        providers=PROVIDERS,
        provider_choices=[(name, provider.title) for name, provider in PROVIDERS.items()],
        most_text=MOST_TEXT,
    )
    return environment


_TEMPLATES: Final = _environment()


def rendered(request: Request, template: str, values: Mapping[str, Any], *, status: int = 200) -> Response:
    """A page. `values` go to the template; everything in them is escaped."""
    common = {"path": request.url.path}
    return HTMLResponse(_TEMPLATES.get_template(template).render({**common, **values}), status_code=status)


def see(address: str) -> Response:
    """What a form answers that was carried out: look there."""
    return RedirectResponse(address, status_code=303)
