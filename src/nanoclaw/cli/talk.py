"""`nanoclaw send` and `nanoclaw chat`: the local channel from the terminal."""

import json
import sys
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import uuid4

import anyio
import anyio.to_thread
import typer

from nanoclaw.channels.local import MAX_FILE_BYTES, PREFIX
from nanoclaw.client import Client, NoHostError
from nanoclaw.config import Home
from nanoclaw.errors import HostError, UsageError
from nanoclaw.groups import find_group, load_groups
from nanoclaw.model import Jid, RegisteredGroup

if TYPE_CHECKING:  # imported where a terminal is: it takes a tenth of a second
    from prompt_toolkit import PromptSession

_NO_ANSWER: Final = 3
_START_SECONDS: Final = 30.0  # a host that holds the lock but does not answer yet is starting or stopping
_AGAIN_SECONDS: Final = 0.1
_FILE_COMMAND: Final = "/file "

_Chat = Annotated[str, typer.Option("--chat", help="A registered local chat, by jid or folder.")]
_Files = Annotated[list[Path] | None, typer.Option("--file", help="A file to send along; may be given again.")]
_Wait = Annotated[float | None, typer.Option(help="Wait so many seconds for the answers to this message.")]


def send(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="The message; `-` reads it from standard input.")] = "",
    file: _Files = None,
    chat: _Chat = f"{PREFIX}main",
    sender: Annotated[str, typer.Option("--from", help="Who says it.")] = "You",
    wait: _Wait = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Send a message as somebody in a local chat. Exit 0: stored, or answered with --wait; 3: no answer in time."""
    home: Home = context.obj
    group = _local_group(home, chat)
    said = _Said(sender, sys.stdin.read() if text == "-" else text, _attachable(file or []))
    raise typer.Exit(anyio.run(_send, home, group, said, wait, as_json))


@dataclass(frozen=True, slots=True)
class _Said:
    """What somebody says. `id` makes a repetition recognisable."""

    sender: str
    text: str
    files: Sequence[Path] = ()
    id: str = field(default_factory=lambda: uuid4().hex)


def _attachable(files: Sequence[Path]) -> Sequence[Path]:
    for file in files:
        if not file.is_file():
            raise UsageError(f"{file} is no file", "name one that is there")
        if file.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{file} is larger than {MAX_FILE_BYTES >> 20} MiB", "send a smaller one")
    return files


async def _send(home: Home, group: RegisteredGroup, said: _Said, wait: float | None, as_json: bool) -> int:
    seq = await _store(home, group, said)
    answer: dict[str, Any] = {"state": "stored", "replies": []}
    if wait is not None:
        answer = await _wait_for_answer(home, group, seq, wait)
    shown = {"message": {"id": said.id, "seq": seq, "chat": group.jid}, **answer}
    if as_json:
        print(json.dumps(shown, ensure_ascii=False))
    else:
        print("\n\n".join(_shown(home, reply) for reply in answer["replies"]), end="\n" if answer["replies"] else "")
    if wait is None or answer["replies"]:
        return 0
    print(f"nanoclaw: {_WHY_SILENT[answer['state']].format(trigger=group.trigger)}", file=sys.stderr)
    return _NO_ANSWER


_WHY_SILENT: Final = {
    "answered": "the agent chose to say nothing",
    "waiting": "no answer in time; it will still come",
    "not_addressed": "stored, but it does not wake the assistant: begin with {trigger}",
}


def _shown(home: Home, reply: dict[str, Any]) -> str:
    """A reply's text, and where its files lie."""
    files = [f"[{file['name']}: {home.root / file['path']}]" for file in reply["files"]]
    return "\n".join([*([reply["text"]] if reply["text"] else []), *files])


async def _store(home: Home, group: RegisteredGroup, said: _Said) -> int:
    """Through the running host; without one into the database, where the next host finds it. Answers the seq."""
    files = [{"name": file.name, "data": b64encode(file.read_bytes()).decode("ascii")} for file in said.files]
    body = {"chat": group.jid, "sender": said.sender, "id": said.id, "files": files}
    if said.text or not files:
        body["text"] = said.text
    with anyio.move_on_after(_START_SECONDS):
        while True:
            try:
                async with Client(home) as client:
                    return (await client.post("/v1/messages", body))["seq"]
            except NoHostError:
                from nanoclaw.cli.storing import store_directly  # much of the host, where there is none

                try:
                    return store_directly(home, group, said.sender, said.text, said.id, said.files)
                except HostError:
                    await anyio.sleep(_AGAIN_SECONDS)
    raise HostError("the host holds its lock but does not answer", "see `nanoclaw status` and its log")


async def _wait_for_answer(home: Home, group: RegisteredGroup, seq: int, wait: float) -> dict[str, Any]:
    """Ask until the run has ended or the time is over; a host that restarts meanwhile is asked again."""
    deadline = anyio.current_time() + wait
    answer: dict[str, Any] = {"state": "waiting", "replies": []}
    while (left := deadline - anyio.current_time()) > 0:
        whole = int(min(60.0, max(1.0, left)))
        try:
            with anyio.move_on_at(deadline):
                async with Client(home) as client:
                    answer = await client.get("/v1/answers", whole, chat=group.jid, seq=seq, wait=whole)
        except NoHostError:
            await anyio.sleep(min(_AGAIN_SECONDS, max(0.0, deadline - anyio.current_time())))
        if answer["state"] != "waiting":
            break
    return answer


def _local_group(home: Home, name: str) -> RegisteredGroup:
    group = find_group(load_groups(home.registered_groups), name)
    if not group.jid.startswith(PREFIX):
        raise UsageError(f"{group.jid} is no local chat", "write to it from its own app")
    return group


def chat(
    context: typer.Context,
    group: Annotated[str, typer.Argument(metavar="[FOLDER]", help="A group on the local channel.")] = "main",
    sender: Annotated[str, typer.Option("--from", help="Who you are in the chat.")] = "You",
) -> None:
    """Talk in the terminal. Without a terminal, each line of standard input is a message."""
    home: Home = context.obj
    anyio.run(converse, home, _local_group(home, group).jid, sender)


async def converse(home: Home, jid: Jid, sender: str) -> None:
    """Show the chat's replies as they come and send what is typed, until Ctrl-D or the end of input."""
    if sys.stdin.isatty():
        await _at_terminal(home, jid, sender)
    else:
        await _from_pipe(home, jid, sender)


async def _at_terminal(home: Home, jid: Jid, sender: str) -> None:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.patch_stdout import patch_stdout

    session: PromptSession[str] = PromptSession("you> ", bottom_toolbar=_IDLE)
    with patch_stdout(raw=True):
        async with anyio.create_task_group() as group:
            group.start_soon(_show_replies, home, jid, session, name="replies")
            while (line := await _typed(session)) is not None:
                if line.strip():
                    await _say_typed(home, jid, sender, line)
            group.cancel_scope.cancel()


_IDLE: Final = "Ctrl-D ends, /file PATH sends a file"
_BUSY: Final = "… is at work"


async def _show_replies(home: Home, jid: Jid, session: "PromptSession[str]") -> None:
    last: int | None = None
    while True:
        try:
            async with Client(home) as client:
                query = {"chat": jid} if last is None else {"chat": jid, "after": last}
                async for event in client.stream("/v1/events", **query):
                    last = _show(home, event, session, last)
        except NoHostError as error:
            print(f"\n{error}; waiting for it …")
            await anyio.sleep(1.0)


def _show(home: Home, event: dict[str, Any], session: "PromptSession[str]", last: int | None) -> int | None:
    """Render one event; answers the id of the last reply, from which a new stream goes on."""
    match event:
        case {"type": "open", "after": int(after)}:
            return after
        case {"type": "reply", "id": int(reply)}:
            print(f"\n{_shown(home, event)}\n")
            return reply
        case {"type": "typing", "on": on}:
            session.bottom_toolbar = _BUSY if on else _IDLE
            session.app.invalidate()
        case _:
            pass
    return last


async def _typed(session: "PromptSession[str]") -> str | None:
    try:
        return await session.prompt_async()
    except (EOFError, KeyboardInterrupt):
        return None


async def _say_typed(home: Home, jid: Jid, sender: str, line: str) -> None:
    """What cannot be sent is said, and the chat goes on."""
    try:
        await _say(home, jid, sender, line)
    except UsageError as error:
        print(f"nanoclaw: {error}: {error.hint}", file=sys.stderr)


async def _say(home: Home, jid: Jid, sender: str, line: str) -> int:
    groups = load_groups(home.registered_groups)
    return await _store(home, groups[jid], _understood(sender, line))


def _understood(sender: str, line: str) -> _Said:
    """A line is a message; `/file PATH` sends a file."""
    if not line.startswith(_FILE_COMMAND):
        return _Said(sender, line)
    path = Path(line.removeprefix(_FILE_COMMAND).strip()).expanduser()
    return _Said(sender, "", _attachable([path]))


async def _from_pipe(home: Home, jid: Jid, sender: str) -> None:
    """Each line is a message; ends when all of them are answered."""
    group = load_groups(home.registered_groups)[jid]
    shown: set[int] = set()
    for line in await anyio.to_thread.run_sync(sys.stdin.readlines):
        if not line.strip():
            continue
        seq = await _say(home, jid, sender, line.rstrip("\n"))
        answer = await _wait_for_answer(home, group, seq, float("inf"))
        if not answer["replies"]:
            print(f"nanoclaw: {_WHY_SILENT[answer['state']].format(trigger=group.trigger)}", file=sys.stderr)
        for reply in answer["replies"]:
            if reply["id"] not in shown:
                shown.add(reply["id"])
                print(_shown(home, reply), flush=True)
