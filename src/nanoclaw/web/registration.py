"""Taking a chat in as a group, and taking it off the list."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nanoclaw.groups import find_group
from nanoclaw.store import messages
from nanoclaw.web.context import Context, rendered, see
from nanoclaw.web.forms import read_form


def registration_routes(context: Context) -> list[Route]:
    """`/register`, and the end of a registration."""
    services = context.services

    async def show(request: Request) -> Response:
        known = await services.database.read(messages.known_chats)
        chats = [chat for chat in known if chat.jid not in services.groups.groups]
        chosen = request.query_params.get("chat", "")
        values = {
            "chats": chats,
            "chosen": chosen,
            "name": next((chat.name for chat in chats if chat.jid == chosen), ""),
            "trigger": f"@{services.settings.assistant_name}",
        }
        return rendered(request, "register.html", values)

    async def register(request: Request) -> Response:
        form = await read_form(request)
        command = {
            "type": "register_group",
            **{name: form.get(name, "").strip() for name in ("jid", "name", "folder", "trigger", "provider")},
            "requiresTrigger": "requires_trigger" in form,
        }
        answer = await context.tell(command)
        return see(f"/groups/{answer['folder']}/settings")

    async def unregister(request: Request) -> Response:
        group = find_group(services.groups.groups, request.path_params["folder"])
        await context.tell({"type": "unregister_group", "folder": group.folder})
        return see("/groups")

    return [
        Route("/register", show),
        Route("/register", register, methods=["POST"]),
        Route("/groups/{folder}/unregister", unregister, methods=["POST"]),
    ]
