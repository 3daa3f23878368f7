"""The reader of all mailboxes: wakes within milliseconds, acts once on every file, is fair between groups.

Each mailbox has a task of its own, which looks, acts on what it found, file by file, and answers. So a group that
floods waits for itself only; and what its flood may cost is limited by an allowance for each second.
"""

import errno
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup, TaskStatus

from nanoclaw.clock import SystemClock
from nanoclaw.errors import MailboxError, MountError, SandboxError, StoreError
from nanoclaw.ipc import files
from nanoclaw.ipc.commands import Command
from nanoclaw.ipc.files import Claim, Haul, OpenMailbox
from nanoclaw.ipc.protocol import error_answer
from nanoclaw.ipc.watch import Watch, watching
from nanoclaw.model import Folder

T = TypeVar("T")

log = structlog.stdlib.get_logger()

Apply = Callable[[Folder, str, Command], Awaitable[dict[str, object]]]
"""Carry out a group's command and answer it; once for each key, whatever happens. Raises `MailboxError` to refuse."""
Outcome = Literal["applied", "refused"]
Note = Callable[[Folder, Outcome], None]
"""Told of every file that was answered; must not block."""

_ALLOWANCE = 1000  # looks and files that a group has in hand: more than any honest burst
_REFILL = 150  # what comes back at each rescan: a group that floods for ever costs some 15 % of a core
_DRAIN_SECONDS = 10.0  # a run's outcome waits no longer for its mailbox; thousands of files are done by then
_POSTPONED_SECONDS = 5.0  # a full disk or a broken database is not better sooner
_THREADS = 4  # a look takes about a millisecond, so that this many serve more groups than a person has


@dataclass(slots=True)
class _Mailbox:
    folder: Folder
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    woken: anyio.Event = field(default_factory=anyio.Event)
    allowance: int = _ALLOWANCE
    resumes_at: float = 0.0
    """By the event loop's clock: when to look again after the machine failed."""
    opened: int = 0
    """How often it was opened again: a look that began before that tells nothing of how it is now."""


class MailboxReader:
    """Reads `root/<folder>/` for every folder that was opened."""

    def __init__(self, root: Path, apply: Apply, *, note: Note | None = None, rescan_seconds: float = 1.0) -> None:
        self._root = root
        self._apply = apply
        self._note = note or _nobody
        self._rescan_seconds = rescan_seconds
        self._mailboxes: dict[Folder, _Mailbox] = {}
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._rescanned = anyio.Event()
        self._running: tuple[TaskGroup, Watch] | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Act on files as they arrive, until cancelled. Starts once somebody listens for changes."""
        await anyio.Path(self._root).mkdir(parents=True, exist_ok=True)
        async with watching(self._root) as watch, anyio.create_task_group() as tasks:
            self._running = (tasks, watch)
            try:
                for mailbox in self._mailboxes.values():
                    self._begin(mailbox)
                tasks.start_soon(self._listen, watch, name="mailboxes")
                task_status.started()
                await self._rescan()
            finally:
                self._running = None

    async def open(self, folder: Folder) -> None:
        """Make a mailbox ready to be mounted into a sandbox, and read it from now on. Again: puts it right.

        Raises:
            MountError: something in its place is not what it must be.
            SandboxError: its directories cannot be made.
        """
        try:
            await self._in_thread(partial(files.prepare, self._root, folder))
        except OSError as error:
            place = self._root / folder
            if error.errno in (None, errno.ENOTDIR, errno.ELOOP):
                raise MountError(f"{place} is no mailbox: {error}", "remove what is in its place") from error
            raise SandboxError(
                f"{place} cannot be made ready: {error}", "check the disk and the owner", retryable=True
            ) from error
        if known := self._mailboxes.get(folder):
            known.opened += 1
            known.resumes_at = 0.0
            known.woken.set()
            self._let_all_try_again()
        else:
            self._mailboxes[folder] = _Mailbox(folder)
            self._begin(self._mailboxes[folder])

    async def drain(self, folder: Folder) -> None:
        """Handle everything that lies there now, before returning; of a flood, as much as can be in ten seconds."""
        mailbox = self._mailboxes[folder]
        deadline = anyio.current_time() + _DRAIN_SECONDS
        while await self._look(mailbox, patient=False):
            if anyio.current_time() > deadline:
                log.warning("mailbox.flooded", folder=folder, effect="the rest is read after the run")
                return

    def _begin(self, mailbox: _Mailbox) -> None:
        if self._running:
            tasks, watch = self._running
            mailbox.woken.set()
            tasks.start_soon(self._serve, mailbox, watch, name=f"mailbox of {mailbox.folder}")

    async def _listen(self, watch: Watch) -> None:
        while True:
            mailbox = self._mailboxes.get(await watch.next())
            if mailbox:
                mailbox.woken.set()

    async def _rescan(self) -> None:
        while True:
            await anyio.sleep(self._rescan_seconds)
            for mailbox in self._mailboxes.values():
                mailbox.allowance = min(_ALLOWANCE, mailbox.allowance + _REFILL)
                if not files.is_empty(self._root, mailbox.folder):
                    mailbox.woken.set()
            self._let_all_try_again()

    def _let_all_try_again(self) -> None:
        self._rescanned.set()
        self._rescanned = anyio.Event()

    async def _serve(self, mailbox: _Mailbox, watch: Watch) -> None:
        while True:
            await mailbox.woken.wait()
            while mailbox.allowance <= 0 or anyio.current_time() < mailbox.resumes_at:
                await self._rescanned.wait()
            mailbox.woken = anyio.Event()
            watch.arm(mailbox.folder)
            if await self._look(mailbox, patient=True):
                mailbox.woken.set()

    async def _look(self, mailbox: _Mailbox, *, patient: bool) -> bool:
        """Act on what lies there, up to a limit. Answers whether more does."""
        async with mailbox.lock:
            opened = mailbox.opened
            try:
                haul = await self._look_once(mailbox.folder, patient=patient)
            except (OSError, StoreError) as error:
                log.warning("mailbox.postponed", folder=mailbox.folder, error=str(error))
                if mailbox.opened == opened:
                    mailbox.resumes_at = anyio.current_time() + _POSTPONED_SECONDS
                else:
                    mailbox.woken.set()
                return False
        mailbox.allowance -= 1 + haul.handled
        if haul.refusals:
            log.warning("mailbox.refused", folder=mailbox.folder, count=len(haul.refusals), first=haul.refusals[0])
        return haul.more

    async def _look_once(self, folder: Folder, *, patient: bool) -> Haul:
        now = SystemClock().now().timestamp()
        with ExitStack() as stack:

            def open_and_collect() -> tuple[OpenMailbox, Haul]:
                box = stack.enter_context(files.opened(self._root, folder))
                return box, files.collect(box, now, patient=patient)

            box, haul = await self._in_thread(open_and_collect)
            for _ in haul.refusals:
                self._note(folder, "refused")
            for claim in haul.claims:
                answer, problem = await self._outcome(folder, claim)
                await self._in_thread(partial(files.finish, box, claim, answer, refused=problem is not None))
                self._note(folder, "applied" if problem is None else "refused")
                if problem is not None:
                    haul.refusals.append(f"{claim.name}: {problem}")
            if haul.handled:
                await self._in_thread(partial(files.tidy, box))
        return haul

    async def _outcome(self, folder: Folder, claim: Claim) -> tuple[bytes, str | None]:
        """The answer, and why the file was refused if it was."""
        try:
            if isinstance(claim.command, MailboxError):
                problem = str(claim.command)
            else:
                return files.encode(await self._apply(folder, f"{folder}/{claim.id}", claim.command)), None
        except MailboxError as error:
            problem = str(error)
        except StoreError:
            raise
        except Exception:  # the boundary: a fault of ours costs one file, not the reader
            log.exception("mailbox.bug", folder=folder, file=claim.id)
            problem = "internal error; the host's log says more"
        return files.encode(error_answer(problem)), problem

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._threads)


def _nobody(_folder: Folder, _outcome: Outcome) -> None:
    """Listens."""
