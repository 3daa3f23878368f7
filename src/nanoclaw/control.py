"""How the command line and the page talk to a running host: HTTP over a unix socket that only its owner can open.

GET  /v1/status                          what there is and what is wrong
POST /v1/messages                        {chat, sender, text, id?, files?} → {seq, chat}; stored when it answers;
                                         files: [{name, data}], data in base64; with files, text may be left out
GET  /v1/answers?chat=&seq=&wait=        what was said in answer, waiting so many seconds for the run to end
GET  /v1/events?chat=&after=             a stream, a JSON object a line: replies as they are delivered, and typing
POST /v1/groups/reload                   take registered_groups.json as it stands into force
POST /v1/runs/retry                      {folder} → queue a run for what is still unanswered
POST /v1/runs/stop                       {folder, all?} or {run} → end it; all: what waits is forgotten too
GET  /v1/tasks                           every task, the next due first
POST /v1/commands                        a command as in a mailbox, with the authority of main → its answer
"""

import json
import os
import socket
from base64 import b64decode
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import uuid4

import anyio
from anyio.abc import TaskStatus
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from nanoclaw import intervention
from nanoclaw.channels.local import MAX_FILE_BYTES, LocalChannel, local_file, local_message
from nanoclaw.clock import iso
from nanoclaw.errors import MailboxError, NanoclawError, NotFoundError, UsageError
from nanoclaw.formatting import printable
from nanoclaw.groups import find_group
from nanoclaw.ipc.protocol import parse
from nanoclaw.model import Attachment, Jid, OutboxItem, RunId, Seq
from nanoclaw.services import Services
from nanoclaw.serving import serve_on
from nanoclaw.store import answers, messages, outbox, tasks
from nanoclaw.taskview import task_json

Status = Callable[[], Awaitable[dict[str, Any]]]

_LONGEST_WAIT_SECONDS: Final = 60.0  # a client that wants to wait longer asks again
_HEARTBEAT_SECONDS: Final = 15.0  # an empty line, so that a client that is gone is noticed
_MOST_TEXT: Final = 65_536  # what WhatsApp takes, too
_EVENTS_AT_ONCE: Final = 100


class Control:
    """The routes."""

    def __init__(self, services: Services, local: LocalChannel, status: Status) -> None:
        self._services = services
        self._local = local
        self._status = status

    def application(self) -> Starlette:
        """The routes as an ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/status", self.status),
                Route("/v1/messages", self.post_message, methods=["POST"]),
                Route("/v1/answers", self.answers),
                Route("/v1/events", self.events),
                Route("/v1/groups/reload", self.reload, methods=["POST"]),
                Route("/v1/runs/retry", self.retry, methods=["POST"]),
                Route("/v1/runs/stop", self.stop, methods=["POST"]),
                Route("/v1/tasks", self.tasks),
                Route("/v1/commands", self.command, methods=["POST"]),
            ],
            exception_handlers={NanoclawError: _refusal},
        )

    async def status(self, _request: Request) -> Response:
        return JSONResponse(await self._status())

    async def post_message(self, request: Request) -> Response:
        body = await _body(request)
        files = _files(body)
        chat, text = Jid(_text(body, "chat")), printable(_text(body, "text") if "text" in body or not files else "")
        if not self._local.owns(chat) or chat not in self._services.groups.groups:
            raise NotFoundError(f"{chat} is not a registered local chat", "see `nanoclaw groups list`")
        ext_id = _text(body, "id") if "id" in body else None
        sender = printable(_text(body, "sender"))
        async with _unpacked(files) as attachments:
            message = local_message(chat, sender, text, self._services.clock, ext_id, attachments)
            await self._local.submit(message)
        seq = await self._services.database.read(messages.seq_of, message)
        return JSONResponse({"seq": seq, "chat": chat}, status_code=202)

    async def answers(self, request: Request) -> Response:
        group = find_group(self._services.groups.groups, request.query_params.get("chat", ""))
        seq = Seq(_number(request, "seq"))
        wait = min(_LONGEST_WAIT_SECONDS, _number(request, "wait"))
        with anyio.move_on_after(wait):
            while True:
                seen = self._services.pulses.outbox.count
                state, items = await self._services.database.read(answers.answer_to, group.folder, seq)
                if state != "waiting":
                    break
                await self._services.pulses.outbox.after(seen)
        state, items = await self._services.database.read(answers.answer_to, group.folder, seq)
        progress = [await self._services.database.read(outbox.progress, item) for item in items]
        replies = [reply_json(item, far) for item, far in zip(items, progress, strict=True)]
        return JSONResponse({"state": state, "replies": replies})

    async def events(self, request: Request) -> Response:
        group = find_group(self._services.groups.groups, request.query_params.get("chat", ""))
        after = request.query_params.get("after")
        first = int(after) if after and after.isdigit() else await self._services.database.read(outbox.last_id)
        return StreamingResponse(self._stream(group.jid, first), media_type="application/x-ndjson")

    async def _stream(self, chat: Jid, last: int) -> AsyncGenerator[str]:
        typing = False
        yield _line({"type": "open", "after": last})
        while True:
            seen = self._services.pulses.outbox.count, self._local.typing_changed.count
            for item in await self._services.database.read(outbox.sent_after, chat, last, _EVENTS_AT_ONCE):
                last = item.id
                yield _line({"type": "reply", **reply_json(item)})
            if typing != (chat in self._local.typing):
                typing = not typing
                yield _line({"type": "typing", "on": typing})
            yield await self._next_change(*seen)

    async def _next_change(self, outbox_seen: int, typing_seen: int) -> str:
        """Wait for something to look at; answers an empty line when nothing came for a while."""
        with anyio.move_on_after(_HEARTBEAT_SECONDS) as quiet:
            async with anyio.create_task_group() as waiting:

                async def first(wait: Awaitable[None]) -> None:
                    await wait
                    waiting.cancel_scope.cancel()

                waiting.start_soon(first, self._services.pulses.outbox.after(outbox_seen))
                waiting.start_soon(first, self._local.typing_changed.after(typing_seen))
        return "\n" if quiet.cancelled_caught else ""

    async def reload(self, _request: Request) -> Response:
        self._services.groups.reload()
        if self._services.groups.problem:
            raise self._services.groups.problem
        return JSONResponse({"groups": len(self._services.groups.groups)})

    async def retry(self, request: Request) -> Response:
        group = find_group(self._services.groups.groups, _text(await _body(request), "folder"))
        await intervention.try_again(self._services, group)
        return JSONResponse({"folder": group.folder}, status_code=202)

    async def stop(self, request: Request) -> Response:
        body = await _body(request)
        if "run" in body:
            if not isinstance(body["run"], int):
                raise UsageError("run must be a whole number")
            await intervention.stop_run(self._services, RunId(body["run"]))
            return JSONResponse({"stopped": True, "forgotten": 0})
        group = find_group(self._services.groups.groups, _text(body, "folder"))
        stopped, forgotten = await intervention.stop(self._services, group, queue_too=body.get("all") is True)
        return JSONResponse({"stopped": stopped, "forgotten": forgotten})

    async def tasks(self, _request: Request) -> Response:
        found = await self._services.database.read(tasks.existing)
        return JSONResponse({"tasks": [task_json(task) for task in found]})

    async def command(self, request: Request) -> Response:
        try:
            command = parse(await request.body())
            answer = await self._services.verbs.apply_for_owner(f"control/{uuid4().hex}", command)
        except MailboxError as error:
            raise UsageError(str(error)) from error
        return JSONResponse(answer)


def reply_json(item: OutboxItem, progress: Mapping[str, datetime] | None = None) -> dict[str, Any]:
    """A reply as `send --json` and the page show it; `progress`: how far it has come, where that is known."""
    return {
        "id": item.id,
        "chat": item.chat,
        "kind": item.kind,
        "text": item.text,
        "run": item.run_id,
        "at": iso(item.sent_at or item.created_at),
        "files": [{"name": file.name, "mime": file.mime, "path": f"data/outgoing/{file.file}"} for file in item.files],
        "delivery": {state: iso(at) for state, at in (progress or {}).items()},
    }


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise UsageError("the request's body is no JSON") from error
    if not isinstance(body, dict):
        raise UsageError("the request's body is no JSON object")
    return body  # pyright: ignore[reportUnknownVariableType]  # keys are read through _text


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value.strip() or len(value) > _MOST_TEXT:
        raise UsageError(f"{key} must be a text of 1 to {_MOST_TEXT} characters")
    return value


def _files(body: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Name and content of each."""
    try:
        found = [(printable(file["name"]), b64decode(file["data"], validate=True)) for file in body.get("files", [])]
    except (TypeError, KeyError, ValueError) as error:
        raise UsageError("files must be a list of {name, data}, data in base64") from error
    if any(len(data) > MAX_FILE_BYTES for _, data in found):
        raise UsageError(f"a file is larger than {MAX_FILE_BYTES >> 20} MiB", "send a smaller one")
    return found


@asynccontextmanager
async def _unpacked(files: Sequence[tuple[str, bytes]]) -> AsyncGenerator[tuple[Attachment, ...]]:
    """The files as a channel has them, for as long as the context lasts."""
    if not files:
        yield ()
        return
    with TemporaryDirectory(prefix="nanoclaw-") as directory:
        yield await anyio.to_thread.run_sync(_written, Path(directory), files)


def _written(directory: Path, files: Sequence[tuple[str, bytes]]) -> tuple[Attachment, ...]:
    paths = [directory / str(number) for number in range(len(files))]
    for path, (_, data) in zip(paths, files, strict=True):
        path.write_bytes(data)
    return tuple(local_file(path, name) for path, (name, _) in zip(paths, files, strict=True))


def _number(request: Request, key: str) -> int:
    value = request.query_params.get(key, "")
    if not value.isdigit():
        raise UsageError(f"{key} must be a whole number")
    return int(value)


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


async def _refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, NanoclawError)
    body = {"error": str(error), "hint": error.hint, "exit_code": error.exit_code}
    return JSONResponse(body, status_code=404 if isinstance(error, NotFoundError) else 400)


async def serve(application: Starlette, path: Path, *, task_status: TaskStatus[None]) -> None:
    """Answer on the socket until cancelled; the next host replaces what is left of it."""
    await serve_on(application, _bind(path), task_status=task_status)


def _bind(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)  # the host's lock is held: nobody listens there
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    finally:
        os.umask(mask)
    listener.listen(64)
    return listener
