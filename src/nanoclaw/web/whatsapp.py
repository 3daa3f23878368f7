"""WhatsApp: how the connection stands and stood, linking this machine and unlinking it."""

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nanoclaw.channels.whatsapp.channel import WhatsAppChannel
from nanoclaw.channels.whatsapp.linking import Chats, Code, Linked, LinkEvent, login_whatsapp
from nanoclaw.errors import UsageError
from nanoclaw.web.context import Context, rendered, see
from nanoclaw.web.errands import EndedBadly
from nanoclaw.web.forms import read_form
from nanoclaw.web.signins import qr_picture


def whatsapp_routes(context: Context) -> list[Route]:
    """`/whatsapp` and what can be done there."""
    services = context.services

    def channel() -> WhatsAppChannel:
        found = context.channel_named(WhatsAppChannel.name)
        if not isinstance(found, WhatsAppChannel):
            raise UsageError("WhatsApp is switched off", "set whatsapp.enabled = true in nanoclaw.toml, and start anew")
        return found

    async def show(request: Request) -> Response:
        found = context.channel_named(WhatsAppChannel.name)
        values = {
            "state": found.state() if found else None,
            "history": context.connections.of(WhatsAppChannel.name),
            "errand": context.link,
            "step": _step(context.link.events),
            "registered": services.groups.groups,
            "zone": context.zone,
        }
        return rendered(request, "whatsapp.html", values)

    async def link(request: Request) -> Response:
        found = channel()
        phone = (await read_form(request)).get("phone", "").strip() or None
        login = partial(login_whatsapp, services.home, services.settings, phone=phone, command=found.command)
        context.link.start("", login)
        return see("/whatsapp")

    async def stop(_request: Request) -> Response:
        context.link.stop()
        return see("/whatsapp")

    async def unlink(_request: Request) -> Response:
        await channel().unlink()
        return see("/whatsapp")

    async def refresh(_request: Request) -> Response:
        channel()
        answer = await context.tell({"type": "refresh_groups"})
        if why := answer.get("unavailable", {}).get(WhatsAppChannel.name):
            raise UsageError(why, "try again when it is connected")
        return see("/groups")

    return [
        Route("/whatsapp", show),
        Route("/whatsapp/link", link, methods=["POST"]),
        Route("/whatsapp/link/stop", stop, methods=["POST"]),
        Route("/whatsapp/unlink", unlink, methods=["POST"]),
        Route("/whatsapp/refresh", refresh, methods=["POST"]),
    ]


def _step(events: list[LinkEvent | EndedBadly]) -> dict[str, Any]:
    """How far linking is, for the template."""
    match events[-1] if events else None:
        case Code(kind=kind, text=text, seconds=seconds):
            return {"is": kind, "text": text, "seconds": seconds, "picture": qr_picture(text) if kind == "qr" else ""}
        case Linked(account=account):
            return {"is": "linked", "phone": account.phone}
        case Chats(chats=chats):
            return {"is": "done", "chats": chats}
        case EndedBadly(reason=reason, hint=hint):
            return {"is": "failed", "reason": reason, "hint": hint}
        case _:
            return {"is": "beginning"}
