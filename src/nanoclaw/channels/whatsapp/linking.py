"""Linking this machine to a WhatsApp account, and ending that.

Both with a worker of their own, while no host uses the session.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import anyio

from nanoclaw.channels.whatsapp import account
from nanoclaw.channels.whatsapp.inbound import read_account, read_news, read_spooled
from nanoclaw.channels.whatsapp.machine import begin, step, told
from nanoclaw.channels.whatsapp.process import DEFAULT_COMMAND, Worker, WorkerGone, open_worker
from nanoclaw.channels.whatsapp.protocol import (
    EXIT_LOCKED,
    EXIT_UNREACHABLE,
    EXIT_UNUSABLE,
    Account,
    Frame,
    News,
    ProtocolError,
    Start,
)
from nanoclaw.channels.whatsapp.requirement import lack
from nanoclaw.config import Home, Settings, command_environment
from nanoclaw.errors import ChannelUnavailable, UsageError
from nanoclaw.model import InboundChat, Jid

LONGEST_SECONDS: Final = 600.0
"""Somebody who has not scanned a code by then has gone away."""

_HANG_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 1.0  # between two workers, when all codes of the first have run out
_TRIES: Final = 3  # connections in a row that end before there was a code
_GROUPS_SECONDS: Final = 10.0  # for the list of groups; without it linking is done all the same
_LOGOUT_SECONDS: Final = 30.0
_REFUSALS: Final = frozenset({"outdated", "banned", "refused", "logged_out", "replaced"})
_BUSY: Final = "a host uses this WhatsApp session now"


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """To be scanned, or typed on the phone; a newer one takes its place."""

    kind: Literal["qr", "phone"]
    text: str
    seconds: int
    """How long it holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Linked:
    """A phone has accepted us."""

    account: Account


@dataclass(frozen=True, kw_only=True, slots=True)
class Chats:
    """The last event: what `main` can be chosen from, the chat with oneself first."""

    chats: tuple[InboundChat, ...]


LinkEvent = Code | Linked | Chats


async def login_whatsapp(
    home: Home, settings: Settings, *, phone: str | None = None, command: Sequence[str] = DEFAULT_COMMAND
) -> AsyncGenerator[LinkEvent]:
    """Link this machine: yields codes until a phone has taken one, then who we are, then which chats there are.

    Args:
        home: where the session is kept.
        settings: of `[whatsapp]`.
        phone: ask for a code to be typed on this phone, by its number with country code, instead of a QR code.
        command: what starts a Python module as a process.

    Raises:
        UsageError: an account is linked already, or the number is none.
        ChannelUnavailable: WhatsApp cannot be reached or used here, or nobody took a code within ten minutes.
    """
    if linked := account.load(home.whatsapp):
        hint = "to link another one: `nanoclaw auth logout whatsapp`"
        raise UsageError(f"WhatsApp is linked already, as +{linked.phone}", hint)
    _check_machine()
    account.prepare(home)
    start = Start(follow=(), link=True, phone=_digits(phone) if phone else "", shared=settings.whatsapp.shared_number)
    until = anyio.current_time() + LONGEST_SECONDS
    barren = 0
    while barren < _TRIES:
        codes = 0
        async with _worker(home, start, command) as worker:
            async for event in _events(worker, until):
                codes += isinstance(event, Code)
                yield event
                if isinstance(event, Chats):
                    return
            _judge(await worker.status())
        if anyio.current_time() > until:
            raise ChannelUnavailable("nobody took a code within ten minutes", "run the command again")
        barren = 0 if codes else barren + 1
        await anyio.sleep(_PAUSE_SECONDS)
    raise ChannelUnavailable("WhatsApp cannot be reached", "check this machine's network; see logs/whatsapp.log")


async def logout_whatsapp(home: Home, settings: Settings, *, command: Sequence[str] = DEFAULT_COMMAND) -> Account:
    """Remove this machine from the account's linked devices, and forget the session; answers which account it was.

    Raises:
        UsageError: none is linked.
        ChannelUnavailable: WhatsApp cannot be reached, or a host uses the session.
    """
    linked = account.load(home.whatsapp)
    if linked is None:
        raise UsageError("no WhatsApp account is linked", "link one with `nanoclaw auth login whatsapp`")
    _check_machine()
    start = Start(follow=(), shared=settings.whatsapp.shared_number)
    async with _worker(home, start, command) as worker:
        with anyio.move_on_after(_LOGOUT_SECONDS):
            async for frame in _frames(worker):
                if frame.get("is") == "news":
                    match read_news(frame).happening:
                        case "connected":
                            await worker.say("logout", id=1)
                        case "logged_out":
                            return _forgotten(home, linked)
                        case _:
                            pass
                elif frame.get("is") == "done" and not frame.get("problem"):
                    return _forgotten(home, linked)
            _judge(await worker.status())
    hint = "or remove the device on the phone: Settings, Linked devices"
    raise ChannelUnavailable("WhatsApp could not be told that this device leaves; try again", hint)


def _forgotten(home: Home, linked: Account) -> Account:
    account.forget(home.whatsapp)
    return linked


@asynccontextmanager
async def _worker(home: Home, start: Start, command: Sequence[str]) -> AsyncGenerator[Worker]:
    log = home.logs / "whatsapp.log"
    async with open_worker(home.whatsapp, log, start, command_environment(), command) as worker:
        yield worker


async def _events(worker: Worker, until: float) -> AsyncGenerator[LinkEvent]:
    """What one worker brings, until it ends."""
    me: Account | None = None
    groups: dict[Jid, InboundChat] = {}
    async for frame in _frames(worker):
        match frame.get("is"):
            case "code":
                yield Code(kind=frame["kind"], text=frame["text"], seconds=int(frame["seconds"]))
            case "account" if me is None:
                me = read_account({name: frame.get(name) for name in ("phone", "lid", "name")})
                yield Linked(account=me)
            case "news" if _let_in(read_news(frame)) and me:
                await worker.say("refresh", id=1)
                until = anyio.current_time() + _GROUPS_SECONDS
            case "spooled":
                seq, one = read_spooled(frame)
                if isinstance(one, InboundChat) and one.is_group:
                    groups[one.chat] = one
                    await worker.say("ack", seq=seq)
            case "done" if me:
                until = 0.0
            case _:
                pass
        if me and (frame.get("is") == "done" or anyio.current_time() > until):
            yield Chats(chats=(_self_chat(me), *sorted(groups.values(), key=lambda chat: chat.name.lower())))
            return
        if anyio.current_time() > until:
            return


async def _frames(worker: Worker) -> AsyncGenerator[Frame]:
    try:
        while frames := await worker.listen(_HANG_SECONDS):
            for frame in frames:
                yield frame
    except (WorkerGone, ProtocolError) as error:
        raise ChannelUnavailable("the WhatsApp worker does not answer", "see logs/whatsapp.log") from error


def _let_in(news: News) -> bool:
    """Whether we are logged in now. Raises `ChannelUnavailable`, in a host's words, if WhatsApp does not want us."""
    if news.happening in _REFUSALS:
        now = datetime.now(UTC)
        raise ChannelUnavailable(*told(step(begin(now), news.happening, now, chance=0.0, detail=news.detail)))
    return news.happening == "connected"


def _self_chat(me: Account) -> InboundChat:
    return InboundChat(channel="whatsapp", chat=Jid(me.addresses[0]), name="yourself", is_group=False)


def _judge(status: int | None) -> None:
    """Tell an end that no second attempt changes."""
    if status == EXIT_LOCKED:
        raise ChannelUnavailable(_BUSY, "stop the host, then run the command again")
    if status == EXIT_UNUSABLE:
        raise ChannelUnavailable("the WhatsApp library cannot be used here", "see logs/whatsapp.log")
    if status not in (EXIT_UNREACHABLE, 0, None):
        raise ChannelUnavailable(f"the WhatsApp worker ended with status {status}", "see logs/whatsapp.log")


def _check_machine() -> None:
    if missing := lack():
        raise ChannelUnavailable(missing.what, missing.hint)


def _digits(phone: str) -> str:
    digits = "".join(character for character in phone if character.isdigit())
    if not 6 <= len(digits) <= 15 or phone.strip("+ -()./0123456789"):
        raise UsageError(f"{phone!r} is no phone number", "write it with its country code: +49 151 12345678")
    return digits
