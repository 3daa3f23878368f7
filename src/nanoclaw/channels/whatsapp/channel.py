"""WhatsApp as a `Channel`: the host's side, without the library.

What is sent goes to the worker under its key; the worker remembers each key with the id that its message got, so that
the same key again, after whatever crash, is answered and not sent twice.
"""

import random
from collections.abc import AsyncGenerator, Sequence, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio

from nanoclaw.channels.base import ChannelState, MessageRef, Outbound, Receipt, Receive
from nanoclaw.channels.whatsapp.account import prepare
from nanoclaw.channels.whatsapp.formatting import formatted
from nanoclaw.channels.whatsapp.machine import Link, told
from nanoclaw.channels.whatsapp.pace import Pace
from nanoclaw.channels.whatsapp.process import DEFAULT_COMMAND, SAY_SECONDS, WorkerGone
from nanoclaw.channels.whatsapp.protocol import ANSWER_SECONDS, QUIET_SECONDS, Outcome, Start
from nanoclaw.channels.whatsapp.silence import ECHO_SECONDS, SILENCE_SECONDS, Silence
from nanoclaw.channels.whatsapp.supervisor import HANG_SECONDS, LINK_LOOK_SECONDS, Place, Supervisor
from nanoclaw.clock import Clock
from nanoclaw.config import Home, Settings
from nanoclaw.errors import ChannelUnavailable, DeliveryRejected, DeliveryUnknown
from nanoclaw.model import Jid
from nanoclaw.pulse import Pulse

DOMAINS: Final = ("@s.whatsapp.net", "@lid", "@g.us")

_ASK_SECONDS: Final = 30.0
_TYPING_SECONDS: Final = 10.0  # what others see of it fades after some 25 s


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long what may take, in seconds."""

    send: float = 25.0
    """Who has no answer from the server by then is stuck, and so is every send after it."""
    upload: float = 240.0
    """The largest file that an agent may send, over a slow line."""
    turn: float = 25.0
    """What waits longer for its turn is tried again later."""
    quiet: float = QUIET_SECONDS
    """After so long without a sign of life the server is asked whether it hears us."""
    answer: float = ANSWER_SECONDS
    """How long it may take to answer that."""
    silence: float = SILENCE_SECONDS
    """After so long in which it delivered nothing, the connection is made anew."""
    echo: float = ECHO_SECONDS
    """After so long without even a receipt for a message of ours, likewise."""
    link: float = LINK_LOOK_SECONDS
    """How soon it is seen that a command has linked an account."""
    hang: float = HANG_SECONDS
    """A worker that says nothing for so long is ended, and another one started."""

    @property
    def longest_send(self) -> float:
        """After so long a send has been answered: turn, pace, the worker's ear, the file, the acknowledgement."""
        return 2 * self.turn + SAY_SECONDS + self.upload + self.send


class _Sending:
    """A send that a worker has been told of."""

    def __init__(self) -> None:
        self.leaves = anyio.Event()
        self.answered = anyio.Event()
        self.outcome: Outcome | None = None


class WhatsAppChannel:
    """See the module; it is a `Channel`."""

    name = "whatsapp"
    title = "WhatsApp"
    repeatable = True
    text_limit = 4000

    def __init__(
        self,
        home: Home,
        settings: Settings,
        clock: Clock,
        *,
        command: Sequence[str] = DEFAULT_COMMAND,
        patience: Patience | None = None,
    ) -> None:
        """Nothing happens before `connect`.

        Args:
            home: `home.whatsapp` holds the session.
            settings: `settings.whatsapp`, and the assistant's name.
            clock: the time.
            command: what starts a Python module as a process.
            patience: how long what may take, if not as usual.
        """
        self._settings = settings.whatsapp
        self._name = settings.assistant_name
        self._home = home
        self.command = command
        self._patience = patience or Patience()
        self.send_seconds = self._patience.longest_send
        self._follow: tuple[Jid, ...] = ()
        self._pace = Pace(self._settings.pace_seconds, self._settings.per_chat_minute)
        self._turn = anyio.Lock()
        self._waiting: dict[str, _Sending] = {}
        self._typing: frozenset[Jid] = frozenset()
        place = Place(directory=home.whatsapp, log=home.logs / "whatsapp.log", command=command)
        self._silence = Silence(self._patience.silence, self._patience.echo)
        self._supervisor = Supervisor(
            place, clock, self._orders, self._settle, self._silence, self._patience.link, self._patience.hang
        )
        self._open = False

    @property
    def link(self) -> Link:
        """How the connection stands, and when it is tried again."""
        return self._supervisor.link

    @property
    def changed(self) -> Pulse:
        """Fires when `state` changes."""
        return self._supervisor.changed

    def owns(self, chat: Jid) -> bool:
        """People, by phone number or hidden address, and groups."""
        return chat.endswith(DOMAINS)

    def connect(self, receive: Receive) -> AbstractAsyncContextManager[None]:
        """See `Channel.connect`."""
        return self._connected(receive)

    @asynccontextmanager
    async def _connected(self, receive: Receive) -> AsyncGenerator[None]:
        prepare(self._home)
        async with anyio.create_task_group() as group:
            group.start_soon(self._supervisor.run, receive, name="whatsapp")
            group.start_soon(self._keep_typing, name="whatsapp typing")
            self._open = True
            try:
                yield
            finally:
                self._open = False
                group.cancel_scope.cancel()

    def state(self) -> ChannelState:
        """See `Channel.state`; the words are those of `machine.Phase`."""
        supervisor = self._supervisor
        link = supervisor.link
        problem, hint = told(link)
        me = supervisor.account
        return ChannelState(
            state=link.phase,
            connected=link.phase == "connected",
            problem=problem,
            hint=supervisor.lack.hint if supervisor.lack else hint,
            since=link.since,
            last_inbound=supervisor.last_inbound,
            account=f"+{me.phone}" if me else "",
            facts=supervisor.facts(),
        )

    def follow(self, chats: Set[Jid]) -> None:
        """See `Channel.follow`."""
        self._follow = tuple(sorted(chat for chat in chats if self.owns(chat)))
        self._supervisor.tell("follow", chats=self._follow)

    def formatted(self, text: str) -> str:
        """See `Channel.formatted`."""
        return formatted(text)

    async def send(self, chat: Jid, message: Outbound) -> Receipt:
        """See `Channel.send`: one message at a time, not faster than people write.

        Raises:
            ChannelUnavailable: it is not known to be sent; the same key may be tried again.
            DeliveryRejected: WhatsApp will never take it.
            DeliveryUnknown: it may have been sent.
        """
        outcome = await self._in_turn(chat, message)
        match outcome.result:
            case "sent":
                return Receipt(platform_id=outcome.platform_id)
            case "rejected":
                raise DeliveryRejected(f"WhatsApp refuses it: {outcome.detail}", "is the assistant still in this chat?")
            case "unknown":
                raise DeliveryUnknown("WhatsApp has not acknowledged it", outcome.detail)
            case "unavailable":
                raise ChannelUnavailable(f"WhatsApp did not take it: {outcome.detail}", "it is tried again")

    async def _in_turn(self, chat: Jid, message: Outbound) -> Outcome:
        self._check_open()
        try:
            with anyio.fail_after(self._patience.turn):
                await self._turn.acquire()
        except TimeoutError as error:
            raise ChannelUnavailable("too much is to be sent", "its turn comes later") from error
        try:
            await self._slow_down(chat)
            return await self._hand_over(chat, message)
        finally:
            self._turn.release()

    def _check_open(self) -> None:
        if not self._open:
            raise ChannelUnavailable("WhatsApp is closed", "start the host")
        self._supervisor.worker  # noqa: B018  # raises if there is none

    async def _slow_down(self, chat: Jid) -> None:
        pause = self._pace.wait(chat, anyio.current_time(), random.random())  # noqa: S311
        if pause > self._patience.turn:
            raise ChannelUnavailable("too many messages to this chat within a minute", "its turn comes later")
        await anyio.sleep(pause)
        self._pace.sent(chat, anyio.current_time())

    async def _hand_over(self, chat: Jid, message: Outbound) -> Outcome:
        worker = self._supervisor.worker
        sending = self._waiting[message.key] = _Sending()
        gone = self._supervisor.ended()
        try:
            with anyio.fail_after(self._patience.upload if message.file else self._patience.send):
                await worker.say("send", chat=chat, key=message.key, **self._content(message))
                await _first(sending.leaves, sending.answered, gone)
            with anyio.fail_after(self._patience.send):
                await _first(sending.answered, gone)
        except TimeoutError as error:
            worker.kill()
            raise ChannelUnavailable("WhatsApp does not acknowledge it", "the connection is made anew") from error
        except WorkerGone as error:
            raise _interrupted() from error
        finally:
            self._waiting.pop(message.key, None)
        if sending.outcome is None:
            raise _interrupted()
        return sending.outcome

    def _content(self, message: Outbound) -> dict[str, object]:
        text = message.text
        if self._settings.shared_number:
            text = f"*{self._name}:* {text}".rstrip()
        file = message.file
        answers = message.answers
        return {
            "text": text,
            "file": file and {"path": str(file.path), "name": file.name, "mime": file.mime},
            "answers": answers and {"sender": answers.sender, "ext_id": answers.ext_id, "text": answers.text},
        }

    def _settle(self, key: str, outcome: Outcome | None) -> None:
        """The worker has done what must come before a send, or it has an outcome."""
        sending = self._waiting.get(key)
        if sending is None:
            return
        if outcome is None:
            sending.leaves.set()
        else:
            sending.outcome = outcome
            sending.answered.set()

    async def set_typing(self, chat: Jid, typing: bool) -> None:
        """See `Channel.set_typing`."""
        if self._settings.typing:
            self._typing = self._typing | {chat} if typing else self._typing - {chat}
            self._supervisor.tell("typing", chat=chat, typing=typing)

    async def _keep_typing(self) -> None:
        """It fades on the other side if it is not renewed."""
        while True:
            await anyio.sleep(_TYPING_SECONDS)
            for chat in self._typing:
                self._supervisor.tell("typing", chat=chat, typing=True)

    async def react(self, chat: Jid, to: MessageRef, emoji: str) -> None:
        """See `Channel.react`."""
        self._supervisor.tell("react", chat=chat, to={"sender": to.sender, "ext_id": to.ext_id}, emoji=emoji)

    async def unlink(self) -> None:
        """Remove this machine from the account's linked devices.

        Raises:
            ChannelUnavailable: WhatsApp cannot be told now.
        """
        if problem := await self._supervisor.ask("logout", _ASK_SECONDS):
            raise ChannelUnavailable(f"WhatsApp did not take the logout: {problem}", "try again later")

    async def refresh(self) -> None:
        """See `Channel.refresh`."""
        if problem := await self._supervisor.ask("refresh", _ASK_SECONDS):
            raise ChannelUnavailable(f"WhatsApp does not say which groups there are: {problem}", "try again later")

    def _orders(self) -> Start:
        settings = self._settings
        return Start(
            follow=self._follow,
            shared=settings.shared_number,
            read_receipts=settings.read_receipts,
            media_bytes=settings.media_megabytes << 20,
            quiet_seconds=self._patience.quiet,
            answer_seconds=self._patience.answer,
            silence_seconds=self._silence.seconds,
            echo_seconds=self._silence.echo,
            renewed_at=self._silence.renewed_at or 0.0,
        )


def _interrupted() -> ChannelUnavailable:
    return ChannelUnavailable("the connection ended while it was sent", "the same key is asked about again")


async def _first(*events: anyio.Event) -> None:
    """Return once one of them is set."""
    async with anyio.create_task_group() as group:

        async def wait(event: anyio.Event) -> None:
            await event.wait()
            group.cancel_scope.cancel()

        for event in events:
            group.start_soon(wait, event)
