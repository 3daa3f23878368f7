"""Keeps a worker running for an account, as the state machine says, and carries frames between it and the channel."""

import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream

from nanoclaw.channels.base import Receive
from nanoclaw.channels.whatsapp import account
from nanoclaw.channels.whatsapp.inbound import read_account, read_news, read_outcome, read_spooled
from nanoclaw.channels.whatsapp.machine import RESTING, Event, Link, begin, step
from nanoclaw.channels.whatsapp.process import DEFAULT_COMMAND, Worker, WorkerGone, open_worker
from nanoclaw.channels.whatsapp.protocol import (
    EXIT_DISK,
    EXIT_LOCKED,
    EXIT_UNLINKED,
    EXIT_UNREACHABLE,
    EXIT_UNUSABLE,
    Account,
    Frame,
    News,
    Outcome,
    ProtocolError,
    Start,
)
from nanoclaw.channels.whatsapp.requirement import Lack, lack
from nanoclaw.channels.whatsapp.silence import Silence
from nanoclaw.clock import Clock
from nanoclaw.config import command_environment
from nanoclaw.errors import ChannelUnavailable, StoreError
from nanoclaw.model import Inbound, InboundChat, InboundMessage
from nanoclaw.pulse import Pulse

LINK_LOOK_SECONDS: Final = 5.0
"""How soon it is seen that a command has linked an account."""
HANG_SECONDS: Final = 30.0
"""A worker that says nothing for so long hangs: it shows every 5 s that it lives."""

_RESTART_SECONDS: Final = 0.05  # no worker is restarted faster, whatever happens
_FIRST_STORE_RETRY_SECONDS: Final = 0.2  # when the host's database refuses; nothing is acknowledged meanwhile
_LONGEST_STORE_RETRY_SECONDS: Final = 5.0
_DRAIN_SECONDS: Final = 5.0  # for what an ending worker still has; the rest comes at the next start
_WINDOW: Final = 256  # frames read ahead; a worker has 32 at most under way
_EXITS: Final[dict[int, Event]] = {
    EXIT_UNREACHABLE: "unreachable",
    EXIT_UNLINKED: "unlinked",
    EXIT_LOCKED: "busy",
    EXIT_UNUSABLE: "unusable",
}

Take = Callable[[tuple[int, Inbound]], Awaitable[None]]
Arriving = MemoryObjectReceiveStream[tuple[int, Inbound]]

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a worker's things are, and how it is started."""

    directory: Path
    log: Path
    command: Sequence[str] = DEFAULT_COMMAND


class Supervisor:
    """`changed` fires at every new state."""

    def __init__(
        self,
        place: Place,
        clock: Clock,
        orders: Callable[[], Start],
        settle: Callable[[str, Outcome | None], None],
        silence: Silence,
        link_look: float = LINK_LOOK_SECONDS,
        hang: float = HANG_SECONDS,
    ) -> None:
        """Nothing happens before `run`.

        Args:
            place: where the worker's things are.
            clock: the time.
            orders: what a worker is told at its start.
            settle: is told, by key, when a send is about to leave (None), and what became of it.
            silence: is told when a connection is made anew because nothing came, and when something does.
            link_look: how soon it is seen, in seconds, that a command has linked an account.
            hang: after how many seconds without a word a worker is ended.
        """
        self._place = place
        self._clock = clock
        self._orders = orders
        self._settle = settle
        self._silence = silence
        self._link_look = link_look
        self._hang = hang
        self._worker: Worker | None = None
        self._answers: dict[int, tuple[anyio.Event, list[str]]] = {}
        self._number = 0
        self._ended = anyio.Event()
        self._orders_waiting: deque[tuple[str, dict[str, object]]] = deque(maxlen=_WINDOW)
        self._ordered = Pulse()
        self.changed = Pulse()
        self.account: Account | None = account.load(place.directory)
        self.lack: Lack | None = None
        self.last_inbound: datetime | None = None
        self.restarts = 0
        self.deaf = 0
        self.link = Link(phase="closed", since=clock.now())

    @property
    def worker(self) -> Worker:
        """The worker, if it is there and connected.

        Raises:
            ChannelUnavailable: it is not.
        """
        if self._worker is None or self.link.phase != "connected":
            raise ChannelUnavailable(f"WhatsApp is not connected ({self.link.phase})", "see `nanoclaw status`")
        return self._worker

    def facts(self) -> dict[str, str]:
        """What may help when something is odd."""
        process = {"process": str(self._worker.pid)} if self._worker else {}
        return {**process, "restarts": str(self.restarts), "found deaf": str(self.deaf)}

    def ended(self) -> anyio.Event:
        """Set once the worker that is there now has ended."""
        return self._ended

    def tell(self, what: str, **fields: object) -> None:
        """Let the worker do something that it need not answer; nothing, if there is none."""
        if self._worker is not None:
            self._orders_waiting.append((what, fields))
            self._ordered.fire()

    async def run(self, receive: Receive) -> None:
        """Be connected, or try to be; ends by cancellation."""
        try:
            await self._run(receive)
        finally:
            self._set(Link(phase="closed", since=self._clock.now()))

    async def _run(self, receive: Receive) -> None:
        now = self._clock.now()
        self.lack = lack()
        if self.lack:
            log.error("whatsapp.unusable", what=self.lack.what, hint=self.lack.hint)
            self._set(Link(phase="unusable", since=now, detail=self.lack.what))
            await anyio.sleep_forever()
        self.account = account.load(self._place.directory)
        self._set(begin(now) if self.account else Link(phase="unlinked", since=now))
        while True:
            if self.link.runs:
                await self._live(receive)
                self.restarts += 1
                await anyio.sleep(_RESTART_SECONDS)
            else:
                await self._rest()

    async def _rest(self) -> None:
        """Wait for the timer, or for somebody to link an account."""
        if self.link.phase in RESTING:
            since = self.link.since
            while not self._linked_after(since):  # noqa: ASYNC110  # another process links it
                await anyio.sleep(self._link_look)
            self.account = account.load(self._place.directory)
            self._move("linked")
            return
        await anyio.sleep(max(0.0, self._due_in()))
        self._move("due")

    def _linked_after(self, since: datetime) -> bool:
        """Whether an account was linked, by whatever process, after this moment."""
        return account.linked_at(self._place.directory) > since.timestamp()

    def _due_in(self) -> float:
        return (self.link.due - self._clock.now()).total_seconds() if self.link.due else 0.0

    async def _live(self, receive: Receive) -> None:
        """One worker's life."""
        event: Event = "crashed"
        detail = ""
        self._ended = anyio.Event()
        send, inbound = anyio.create_memory_object_stream[tuple[int, Inbound]](_WINDOW)
        try:
            async with (
                send,
                inbound,
                open_worker(
                    self._place.directory, self._place.log, self._orders(), command_environment(), self._place.command
                ) as worker,
                anyio.create_task_group() as group,
            ):
                self._orders_waiting.clear()
                self._worker = worker
                self.tell("follow", chats=self._orders().follow)  # it may have changed while it was started
                group.start_soon(self._pass_on, worker)
                group.start_soon(self._take_in, inbound, worker, receive)
                group.start_soon(self._patience, group.cancel_scope)
                event, detail = await self._listen(worker, send.send)
                group.cancel_scope.cancel()
        except ChannelUnavailable as error:
            detail = str(error)
        finally:
            self._worker = None
            self._ended.set()
            self._forget_answers()
        if self.link.runs:
            self._move(event, detail)

    async def _listen(self, worker: Worker, take: Take) -> tuple[Event, str]:
        """Hear a worker to its end, or until it is of no more use; answers why it ended."""
        try:
            while frames := await worker.listen(self._hang):
                await self._hear(frames, take)
                if not self.link.runs:
                    await self._drain(worker, take)
                    return "crashed", ""  # the true reason is known already
        except WorkerGone:
            return "crashed", "it did not answer"
        except ProtocolError as error:
            log.error("whatsapp.protocol", problem=str(error))  # noqa: TRY400
            return "crashed", "it said what cannot be"
        status = await worker.status()
        if status == EXIT_DISK:
            return "crashed", "its disk is full or broken"
        return _EXITS.get(status or 0, "crashed"), "" if status in _EXITS else f"status {status}"

    async def _drain(self, worker: Worker, take: Take) -> None:
        """Let it hand over what it still has, and end."""
        with anyio.move_on_after(_DRAIN_SECONDS):
            await worker.say("stop")
            while frames := await worker.listen(self._hang):
                await self._hear(frames, take)

    async def _hear(self, frames: Sequence[Frame], take: Take) -> None:
        for frame in frames:
            if frame.get("is") != "spooled":
                self._heard(frame)
                continue
            try:
                spooled = read_spooled(frame)
            except ProtocolError as error:  # it stays in the spool, and holds nothing else up
                log.error("whatsapp.not_understood", seq=frame.get("seq"), problem=str(error))  # noqa: TRY400
            else:
                await take(spooled)

    def _heard(self, frame: Frame) -> None:
        match frame.get("is"):
            case "news":
                self._learn(read_news(frame))
            case "missed":
                log.warning("whatsapp.was_deaf", hint="what WhatsApp had kept back comes now")
                self.deaf += 1
            case "outcome":
                outcome = read_outcome(frame)
                self._settle(outcome.key, outcome)
            case "sending":
                self._settle(str(frame.get("key")), None)
            case "account":
                fields = {name: frame.get(name) for name in ("phone", "lid", "name")}
                self.account = read_account(fields)
            case "done":
                if answer := self._answers.pop(frame.get("id", 0), None):
                    answer[1].append(str(frame.get("problem", "")))
                    answer[0].set()
            case "unusable":
                self.lack = Lack(what=str(frame.get("detail", "")), hint="see logs/whatsapp.log")
            case _:
                return  # `hello` and `beat`: that it spoke is what matters

    def _learn(self, news: News) -> None:
        if news.happening == "silent" and self.link.phase == "connected":
            self._silence.renewed(self._clock.now().timestamp())
        until = datetime.fromtimestamp(news.until, UTC) if news.until else None
        self._move(news.happening, news.detail, until)

    async def _take_in(self, inbound: Arriving, worker: Worker, receive: Receive) -> None:
        """One after the other, in order; acknowledged only once it is stored for good."""
        with suppress(WorkerGone):  # who listens to it notices
            async for seq, one in inbound:
                await self._store(one, receive)
                if isinstance(one, InboundMessage):
                    self.last_inbound = self._clock.now()
                if not isinstance(one, InboundChat) or one.active_at:  # the others are answers to questions of ours
                    self._silence.broken()
                await worker.say("ack", seq=seq)

    async def _store(self, one: Inbound, receive: Receive) -> None:
        pause = _FIRST_STORE_RETRY_SECONDS
        while True:
            try:
                await receive(one)
            except StoreError as error:
                log.error("whatsapp.not_stored", problem=str(error))  # noqa: TRY400
                await anyio.sleep(pause)
                pause = min(_LONGEST_STORE_RETRY_SECONDS, pause * 2)
            else:
                return

    async def _pass_on(self, worker: Worker) -> None:
        with suppress(WorkerGone):  # who listens to it notices
            while True:
                seen = self._ordered.count
                while self._orders_waiting:
                    what, fields = self._orders_waiting.popleft()
                    await worker.say(what, **fields)
                await self._ordered.after(seen)

    async def _patience(self, scope: anyio.CancelScope) -> None:
        """The one timer, while a worker lives: it has so long to connect, and to connect again."""
        while True:
            seen = self.changed.count
            if self.link.due is None:
                await self.changed.after(seen)
                continue
            await self.changed.after_or(seen, self._due_in())
            self._move("due")  # nothing, if it is not due
            if not self.link.runs:
                scope.cancel()
                return

    async def ask(self, what: str, seconds: float) -> str:
        """Let the worker do something that it answers; the answer is what went wrong, or nothing.

        Raises:
            ChannelUnavailable: there is no worker, or it does not answer in time.
        """
        worker = self.worker
        self._number += 1
        number, answered, found = self._number, anyio.Event(), list[str]()
        self._answers[number] = (answered, found)
        try:
            with anyio.fail_after(seconds):
                await worker.say(what, id=number)
                await answered.wait()
        except (TimeoutError, WorkerGone) as error:
            raise ChannelUnavailable("WhatsApp does not answer now", "try again later") from error
        finally:
            self._answers.pop(number, None)
        if not found:
            raise ChannelUnavailable("the connection to WhatsApp ended", "try again later")
        return found[0]

    def _forget_answers(self) -> None:
        for answered, _ in self._answers.values():
            answered.set()

    def _move(self, event: Event, detail: str = "", until: datetime | None = None) -> None:
        now = self._clock.now()
        self._set(step(self.link, event, now, chance=random.random(), detail=detail, until=until))  # noqa: S311

    def _set(self, link: Link) -> None:
        if link == self.link:
            return
        old, self.link = self.link, link
        if old.phase != link.phase:
            log.info("whatsapp.state", state=link.phase, before=old.phase, detail=link.detail)
        self.changed.fire()
