"""The host: builds every part, opens one task group, and stops in stages."""

import fcntl
import os
import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskStatus

from nanoclaw import __version__, sandbox
from nanoclaw.channels import CHANNELS
from nanoclaw.channels.local import LocalChannel
from nanoclaw.clock import Clock, SystemClock, iso
from nanoclaw.config import Home, Settings, machine_timezone, make_private
from nanoclaw.control import Control, serve
from nanoclaw.delivery import Delivery
from nanoclaw.dispatch import Dispatch
from nanoclaw.errors import HostError, SandboxError
from nanoclaw.execution import Executor
from nanoclaw.gateway import Gateway
from nanoclaw.groups import GroupRegistry
from nanoclaw.intake import Intake
from nanoclaw.ipc.mailbox import MailboxReader
from nanoclaw.model import RegisteredGroup
from nanoclaw.pulse import Pulses
from nanoclaw.reconcile import reconcile_outbox, recover_runs, remove_orphans
from nanoclaw.sandbox import mounts
from nanoclaw.sandbox.base import Health, Sandbox
from nanoclaw.scheduler import Scheduler
from nanoclaw.services import Services
from nanoclaw.snapshots import Snapshots
from nanoclaw.status import groups_status, stored_status
from nanoclaw.store import history
from nanoclaw.store.database import Database, open_database
from nanoclaw.verbs import Verbs

_HOUSEKEEPING_SECONDS: Final = 86_400.0
_FLUSH_SECONDS: Final = 5.0  # for what is in the outbox when the host stops; the rest goes at the next start

log = structlog.stdlib.get_logger()


@contextmanager
def only_writer(home: Home) -> Generator[None]:
    """Hold the lock of whoever may write this home's database.

    Raises:
        HostError: a host, or a command that writes, holds it.
    """
    make_private(home.run)
    make_private(home.sockets)
    with home.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise HostError(
                f"a host is running already on {home.root} (process {file.read().strip() or 'unknown'})",
                "talk to it with `nanoclaw chat`, or stop it first",
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


class _ChosenSandbox:
    """The sandbox in use: chosen once; while none works, every run asks again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = anyio.Lock()
        self._chosen: tuple[Sandbox, Health] | None = None
        self.problem: SandboxError | None = None

    async def get(self) -> Sandbox:
        """Raises `SandboxError` when none works."""
        async with self._lock:
            if self._chosen is None:
                try:
                    self._chosen = await sandbox.choose(self._settings)
                except SandboxError as error:
                    self.problem = error
                    raise
                self.problem = None
                chosen, health = self._chosen
                log.info("sandbox.chosen", name=chosen.name, lacks=health.lacks, warning=health.reason)
            return self._chosen[0]

    def describe(self) -> dict[str, Any]:
        """For `status`."""
        if self._chosen is None:
            return {"name": None, "lacks": [], "problem": str(self.problem) if self.problem else None, "warning": None}
        chosen, health = self._chosen
        return {"name": chosen.name, "lacks": list(health.lacks), "problem": None, "warning": health.reason or None}


class Host:
    """A host on one home."""

    def __init__(self, home: Home, settings: Settings, clock: Clock | None = None) -> None:
        self._home = home
        self._settings = settings
        self._clock = clock or SystemClock()
        self._since = self._clock.now()
        self._stop = anyio.Event()
        self._sandbox = _ChosenSandbox(settings)

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Begin to stop: running agents get their grace, everything else ends at once."""
        self._stop.set()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Be the host until `stop`; reports started once the control socket answers.

        Raises:
            HostError: another host runs on this home.
            ConfigError, StoreError: something that is needed is wrong.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(only_writer(self._home))
            database = await stack.enter_async_context(open_database(self._home.database, self._clock.now()))
            services = self._build(database)
            await reconcile_outbox(database, services.channels, self._clock)
            intake = Intake(database, services.groups, self._clock, services.pulses.runs)
            for channel in services.channels:
                await stack.enter_async_context(channel.connect(intake.receive))
            async with self._parts(services) as delivery:
                log.info("host.ready", version=__version__, home=str(self._home.root))
                task_status.started()
                await self._run_agents(services)
                with anyio.move_on_after(_FLUSH_SECONDS):
                    await delivery.flush()
        log.info("host.stopped")

    def _build(self, database: Database) -> Services:
        groups = GroupRegistry(self._home.registered_groups)
        pulses = Pulses()
        timezone = self._settings.timezone or machine_timezone()
        verbs = Verbs(database, groups, self._clock, pulses, timezone)
        return Services(
            home=self._home,
            settings=self._settings,
            clock=self._clock,
            installation=self._home.installation(),
            database=database,
            groups=groups,
            channels=[make() for make in CHANNELS.values()],
            gateway=Gateway(self._home.gateway_directory),
            mailbox=MailboxReader(self._home.mailboxes, verbs.apply),
            sandbox=self._sandbox.get,
            pulses=pulses,
            verbs=verbs,
        )

    @asynccontextmanager
    async def _parts(self, services: Services) -> AsyncGenerator[Delivery]:
        """Everything but the agents, for as long as the context lasts."""
        delivery = Delivery(services.database, services.channels, self._clock, services.pulses.outbox)
        local = next(channel for channel in services.channels if isinstance(channel, LocalChannel))
        application = Control(services, local, partial(self._status, services)).application()
        async with anyio.create_task_group() as parts:
            await parts.start(services.gateway.run, name="gateway")
            await parts.start(services.mailbox.run, name="mailbox")
            parts.start_soon(services.groups.watch, name="groups file")
            parts.start_soon(self._follow_groups, services, name="groups")
            parts.start_soon(delivery.run, name="delivery")
            parts.start_soon(self._snapshots(services).run, name="snapshots")
            await parts.start(serve, application, self._home.control_socket, name="control")
            yield delivery
            parts.cancel_scope.cancel()

    async def _run_agents(self, services: Services) -> None:
        """Dispatch runs until the host is to stop; then let what runs end within its grace, and put back the rest."""
        dispatch = Dispatch(services, Executor(services))

        async def agents() -> None:
            await self._recover(services)
            running.start_soon(self._keep_house, services, name="housekeeping")
            await dispatch.run()

        pulses = services.pulses
        scheduler = Scheduler(services.database, services.groups, self._clock, pulses.tasks, pulses.runs)
        async with anyio.create_task_group() as running:
            running.start_soon(agents, name="dispatch")
            running.start_soon(scheduler.run, name="scheduler")
            await self._stop.wait()
            log.info("host.stopping", grace=self._settings.runs.shutdown_grace_seconds)
            with anyio.move_on_after(self._settings.runs.shutdown_grace_seconds):
                await dispatch.drain()
            running.cancel_scope.cancel()

    async def _recover(self, services: Services) -> None:
        """Take over from a host that crashed. What its agents left in their mailboxes still belongs to their runs."""
        await remove_orphans(self._sandbox.get, services.installation)
        for group in services.groups.groups.values():
            if await self._make_ready(services, group):
                await services.mailbox.drain(group.folder)
        await recover_runs(services.database, self._clock)

    async def _keep_house(self, services: Services) -> None:
        """Forget what is old; not before every mailbox was read, as that may hold what was applied already."""
        while True:
            await services.database.write(history.prune, self._clock.now())
            await anyio.sleep(_HOUSEKEEPING_SECONDS)

    def _snapshots(self, services: Services) -> Snapshots:
        return Snapshots(self._home, services.database, services.groups, services.pulses.tasks)

    async def _follow_groups(self, services: Services) -> None:
        """Have a mailbox and the directories of every group ready, the new ones' as soon as they are registered."""
        while True:
            seen = services.groups.changed.count
            for group in services.groups.groups.values():
                await self._make_ready(services, group)
            await services.groups.changed.after(seen)

    async def _make_ready(self, services: Services, group: RegisteredGroup) -> bool:
        try:
            await anyio.to_thread.run_sync(mounts.prepare, self._home, group)
            await services.mailbox.open(group.folder)
        except SandboxError as error:
            log.error("group.not_ready", folder=group.folder, problem=str(error), hint=error.hint)  # noqa: TRY400
            return False
        return True

    async def _status(self, services: Services) -> dict[str, Any]:
        problem = services.groups.problem
        return {
            "host": {"running": True, "pid": os.getpid(), "version": __version__, "since": iso(self._since)},
            **await services.database.read(stored_status),
            "sandbox": self._sandbox.describe(),
            "groups": groups_status(services.groups.groups),
            "groups_problem": str(problem) if problem else None,
        }


async def run_until_signal(host: Host, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    """Run the host; the first SIGTERM or Ctrl-C drains it, the second ends it at once."""
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for _ in signals:
                    if host.stopping:
                        group.cancel_scope.cancel()
                    host.stop()

        group.start_soon(watch, name="signals")
        await host.run(task_status=task_status)
        group.cancel_scope.cancel()
