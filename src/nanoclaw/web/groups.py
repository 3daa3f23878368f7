"""Groups: what is said in each, talking to those on the local channel, stopping and trying again."""

import re
from dataclasses import replace
from typing import Final

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from nanoclaw import intervention
from nanoclaw.channels.local import LocalChannel, local_message
from nanoclaw.errors import NotFoundError, UsageError
from nanoclaw.formatting import printable
from nanoclaw.gateway import policy_of
from nanoclaw.groups import find_group
from nanoclaw.model import RegisteredGroup
from nanoclaw.runlog import activities
from nanoclaw.store import conversation, messages
from nanoclaw.store.conversation import Place
from nanoclaw.web.context import Context, rendered, see
from nanoclaw.web.forms import read_form

_LINES: Final = 60
_MOST_TEXT: Final = 65_536
_PLACE: Final = re.compile(r"(\d{1,18})\.(\d{1,18})")


def group_routes(context: Context) -> list[Route]:
    """`/groups` and what is said in each of them."""
    pages = _Groups(context)
    return [
        Route("/groups", pages.all),
        Route("/groups/{folder}", pages.one),
        Route("/groups/{folder}/said/{of}/{number:int}", pages.whole),
        Route("/groups/{folder}/messages", pages.say, methods=["POST"]),
        Route("/groups/{folder}/retry", pages.retry, methods=["POST"]),
        Route("/groups/{folder}/stop", pages.stop, methods=["POST"]),
    ]


class _Groups:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._services = context.services

    def _group(self, request: Request) -> RegisteredGroup:
        return find_group(self._services.groups.groups, request.path_params["folder"])

    def _local(self, group: RegisteredGroup) -> LocalChannel | None:
        channel = self._services.channel(group.jid)
        return channel if isinstance(channel, LocalChannel) else None

    async def all(self, request: Request) -> Response:
        registered = self._services.groups.groups
        network = self._services.settings.network
        groups = sorted(registered.values(), key=lambda group: (not group.is_main, group.folder))
        known = await self._services.database.read(messages.known_chats)
        values = {
            "groups": [(group, policy_of(network, group).mode) for group in groups],
            "unregistered": [chat for chat in known if chat.jid not in registered],
            "zone": self._context.zone,
        }
        return rendered(request, "groups.html", values)

    async def one(self, request: Request) -> Response:
        group = self._group(request)
        before = _before(request)
        database = self._services.database
        found = await database.read(conversation.lines, group.jid, before, _LINES + 1)
        activity = await database.read(conversation.activity, group.folder, group.jid)
        values = {
            "group": group,
            "lines": found[-_LINES:],
            "earlier": conversation.earliest(found[-_LINES:], before) if len(found) > _LINES else None,
            "newest": before == Place(),
            "activity": activity,
            "doing": await self._doing(group, activity.running),
            "can_write": self._local(group) is not None,
            "zone": self._context.zone,
            "assistant": self._services.settings.assistant_name,
        }
        return rendered(request, "group.html", values)

    async def _doing(self, group: RegisteredGroup, run_id: int | None) -> str:
        """What the agent did last, in the run that goes on."""
        if run_id is None:
            return ""
        directory = self._services.home.run_logs(group.folder)
        done = await anyio.to_thread.run_sync(activities, directory, run_id, 1)
        return done[-1] if done else ""

    async def whole(self, request: Request) -> Response:
        """One text, whole and as plain text: it may be longer than a page should be."""
        group = self._group(request)
        of, number = request.path_params["of"], request.path_params["number"]
        text = await self._services.database.read(conversation.whole_text, group.jid, of, number)
        if text is None:
            raise NotFoundError(f"there is no such text in {group.name}", "replies are forgotten after 90 days")
        return PlainTextResponse(printable(text))

    async def say(self, request: Request) -> Response:
        group = self._group(request)
        local = self._local(group)
        if local is None:
            raise UsageError(f"{group.name} is not a local chat", "write to it where it is")
        text = printable((await read_form(request)).get("text", ""))
        if not text.strip() or len(text) > _MOST_TEXT:
            raise UsageError(f"a message has 1 to {_MOST_TEXT} characters")
        message = local_message(group.jid, "You", text, self._services.clock)
        await local.submit(replace(message, from_owner=True))  # who has the page's key owns the host
        return see(f"/groups/{group.folder}")

    async def retry(self, request: Request) -> Response:
        group = self._group(request)
        await intervention.try_again(self._services, group)
        return see(f"/groups/{group.folder}")

    async def stop(self, request: Request) -> Response:
        group = self._group(request)
        queue_too = (await read_form(request)).get("all") == "yes"
        await intervention.stop(self._services, group, queue_too=queue_too)
        return see(f"/groups/{group.folder}")


def _before(request: Request) -> Place:
    text = request.query_params.get("before")
    if text is None:
        return Place()
    match = _PLACE.fullmatch(text)
    if match is None:
        raise UsageError("`before` is no place in this conversation", "follow the link on the page")
    return Place(seq=int(match[1]), outbox_id=int(match[2]))
