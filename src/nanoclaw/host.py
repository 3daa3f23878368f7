"""The host: builds every part, opens one task group, and stops in stages."""

import os
import signal
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup, TaskStatus

from nanoclaw import __version__
from nanoclaw.channels import make_channels
from nanoclaw.channels.base import Channel
from nanoclaw.channels.local import LocalChannel
from nanoclaw.chatdesk import ChatDesk
from nanoclaw.clock import Clock, SystemClock, iso
from nanoclaw.config import Home, Settings, machine_timezone
from nanoclaw.control import Control, serve
from nanoclaw.credentials import Keeper
from nanoclaw.delivery import Delivery
from nanoclaw.dispatch import Dispatch
from nanoclaw.errors import HostError, SandboxError
from nanoclaw.execution import Executor
from nanoclaw.firstfiles import make_group_directory
from nanoclaw.gateway import Gateway, Network, Quota, policy_of
from nanoclaw.groups import GroupRegistry
from nanoclaw.housekeeping import keep_house
from nanoclaw.intake import Intake
from nanoclaw.ipc.mailbox import MailboxReader
from nanoclaw.lives import Lives
from nanoclaw.lock import only_writer
from nanoclaw.metrics import Metrics
from nanoclaw.model import MAIN_FOLDER, Folder, RegisteredGroup
from nanoclaw.network_log import NetworkLog
from nanoclaw.privacy import is_root, make_home_private
from nanoclaw.pulse import Pulses
from nanoclaw.reconcile import reconcile_outbox, recover_runs, remove_orphans
from nanoclaw.sandbox import mounts
from nanoclaw.sandbox.chosen import ChosenSandbox
from nanoclaw.scheduler import Scheduler
from nanoclaw.services import Services, all_of
from nanoclaw.serving import serve_on
from nanoclaw.snapshots import Snapshots
from nanoclaw.status import channel_status, groups_status, network_status, proofs_status, stored_status
from nanoclaw.store import network, outbox
from nanoclaw.store.database import Database, open_database
from nanoclaw.traces import make_traces
from nanoclaw.verbs import Verbs
from nanoclaw.web.access import page_token
from nanoclaw.web.application import Page, listen

_FLUSH_SECONDS: Final = 5.0  # for what is in the outbox when the host stops; the rest goes at the next start

log = structlog.stdlib.get_logger()


class Host:
    """A host on one home."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        clock: Clock | None = None,
        network: Network | None = None,
        lives: Lives | None = None,
        channels: Callable[[Home, Settings, Clock], Sequence[Channel]] = make_channels,
    ) -> None:
        """Nothing happens before `run`.

        Args:
            home: where everything is.
            settings: what `nanoclaw.toml` says.
            clock: the time, if not the machine's.
            network: the way to hosts, if not the machine's.
            lives: keeps count of starts that end badly, if a crash loop is to stop itself.
            channels: makes the channels, if not by the table.
        """
        self._home = home
        self._settings = settings
        self._clock = clock or SystemClock()
        self._network = network
        self._lives = lives
        self._make_channels = channels
        self._since = self._clock.now()
        self._stop = anyio.Event()
        self._sandbox = ChosenSandbox(settings)
        self._page: dict[str, Any] = {"port": None, "problem": None}

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
            if self._lives:
                stack.enter_context(self._lives.life())
            make_home_private(self._home)
            database = await stack.enter_async_context(open_database(self._home.database, self._clock.now()))
            services = self._build(database)
            today = self._clock.now().date()
            services.gateway.resume(today, await database.read(network.of_day, today))
            await stack.enter_async_context(services.network_log)
            await reconcile_outbox(database, services.channels, self._clock)
            intake = Intake(
                self._home,
                self._settings,
                database,
                services.groups,
                self._clock,
                services.pulses,
                ChatDesk(services).take,
            )
            self._follow_chats(services)
            for channel in services.channels:
                await stack.enter_async_context(channel.connect(services.metrics.timed(intake.receive)))
            async with self._parts(services) as delivery:
                if self._lives:
                    self._lives.be_ready()
                log.info("host.ready", version=__version__, home=str(self._home.root))
                task_status.started()
                await self._run_agents(services)
                with anyio.move_on_after(_FLUSH_SECONDS):
                    await delivery.flush()
        log.info("host.stopped")

    def _build(self, database: Database) -> Services:
        groups = GroupRegistry(self._home.registered_groups)
        pulses = Pulses()
        channels = self._make_channels(self._home, self._settings, self._clock)
        verbs = Verbs(self._home, self._settings, database, groups, channels, self._clock, pulses)
        tell_main = self._settings.network.tell_main
        network_log = NetworkLog(database, groups, self._clock, pulses.outbox, tell_main=tell_main)
        metrics = Metrics(self._since)
        traces = make_traces(self._settings.traces.endpoint, self._home.installation(), database)
        return Services(
            home=self._home,
            settings=self._settings,
            clock=self._clock,
            installation=self._home.installation(),
            database=database,
            groups=groups,
            channels=channels,
            gateway=Gateway(
                self._home.gateway_directory,
                clock=self._clock,
                quota=Quota.of(self._settings.network),
                note=all_of(network_log.note, metrics.asked, traces.asked),
                network=self._network,
            ),
            credentials=Keeper(self._home, self._settings.credentials, self._clock, partial(_folders, groups)),
            network_log=network_log,
            mailbox=MailboxReader(self._home.mailboxes, verbs.apply, note=metrics.filed),
            sandbox=self._sandbox.get,
            pulses=pulses,
            snapshots=Snapshots(self._home, database, groups, pulses),
            verbs=verbs,
            metrics=metrics,
            traces=traces,
        )

    @asynccontextmanager
    async def _parts(self, services: Services) -> AsyncGenerator[Delivery]:
        """Everything but the agents, for as long as the context lasts."""
        delivery = Delivery(
            self._home,
            services.database,
            services.groups,
            services.channels,
            self._clock,
            services.pulses.outbox,
            services.delivered,
        )
        local = next(channel for channel in services.channels if isinstance(channel, LocalChannel))
        application = Control(services, local, partial(self._status, services)).application()
        async with anyio.create_task_group() as parts:
            await parts.start(services.gateway.run, name="gateway")
            parts.start_soon(services.credentials.run, name="credentials")
            parts.start_soon(services.network_log.run, name="network log")
            parts.start_soon(services.traces.run, name="traces")
            await parts.start(services.mailbox.run, name="mailbox")
            parts.start_soon(services.groups.watch, name="groups file")
            parts.start_soon(self._follow_groups, services, name="groups")
            parts.start_soon(delivery.run, name="delivery")
            parts.start_soon(delivery.tell_of_losses, name="losses")
            for channel in services.channels:
                parts.start_soon(delivery.follow, channel, name=f"delivery to {channel.name}")
            parts.start_soon(services.snapshots.run, name="snapshots")
            await parts.start(serve, application, self._home.control_socket, name="control")
            await self._open_page(services, parts)
            if self._lives:
                parts.start_soon(self._tell_of_crashes, services, self._lives, name="lives")
            yield delivery
            parts.cancel_scope.cancel()

    async def _tell_of_crashes(self, services: Services, lives: Lives) -> None:
        """Say in main, once the host is well again, that it was not."""
        past = await lives.grow_old()
        main = services.groups.by_folder(MAIN_FOLDER)
        if past and main is not None:
            text = f"I am back: {past}. The log has more: logs/nanoclaw.log"
            now = self._clock.now()
            await services.database.write_surely(outbox.put, f"lives/{iso(now)}", main.jid, "notice", text, None, now)
            services.pulses.outbox.fire()

    async def _open_page(self, services: Services, parts: TaskGroup) -> None:
        """A port that is taken costs the page, not the host."""
        if not self._settings.page.enabled:
            return
        try:
            listener = listen(self._settings.page.port)
        except HostError as error:
            self._page = {"port": None, "problem": f"{error}; {error.hint}"}
            log.warning("page.closed", problem=str(error), hint=error.hint)
            return
        page = Page(services, partial(self._status, services), ZoneInfo(self._settings.timezone or machine_timezone()))
        parts.start_soon(page.run, name="beside the page")
        port = listener.getsockname()[1]
        application = page.application(port, page_token(self._home.page_token))
        await parts.start(serve_on, application, listener, name="page")
        self._page = {"port": port, "problem": None}

    async def _run_agents(self, services: Services) -> None:
        """Dispatch runs until the host is to stop; then let what runs end within its grace, and put back the rest."""
        dispatch = Dispatch(services, Executor(services))

        async def agents() -> None:
            await self._recover(services)
            running.start_soon(keep_house, services, name="housekeeping")
            await dispatch.run()

        pulses = services.pulses
        scheduler = Scheduler(services.database, services.groups, self._clock, pulses.tasks, pulses.runs)
        async with anyio.create_task_group() as running:
            running.start_soon(agents, name="dispatch")
            running.start_soon(scheduler.run, name="scheduler")
            await self._stop.wait()
            services.database.hurry()
            log.info("host.stopping", grace=self._settings.runs.shutdown_grace_seconds)
            with anyio.move_on_after(self._settings.runs.shutdown_grace_seconds):
                await dispatch.drain()
            running.cancel_scope.cancel()

    async def _recover(self, services: Services) -> None:
        """Take over from a host that crashed. What its agents left in their mailboxes still belongs to their runs."""
        await remove_orphans(self._sandbox.get, services.installation)
        await services.credentials.recover()
        for group in services.groups.groups.values():
            if await self._make_ready(services, group):
                await services.mailbox.drain(group.folder)
        await recover_runs(services.database, self._clock)

    async def _follow_groups(self, services: Services) -> None:
        """Have each group's network policy in force, and its mailbox and directories ready, the new ones' as soon as
        they are registered."""
        while True:
            seen = services.groups.changed.count
            self._follow_chats(services)
            groups = services.groups.groups.values()
            services.gateway.follow({group.folder: policy_of(self._settings.network, group) for group in groups})
            for group in services.groups.groups.values():
                await self._make_ready(services, group)
            await services.groups.changed.after(seen)

    def _follow_chats(self, services: Services) -> None:
        for channel in services.channels:
            channel.follow({chat for chat in services.groups.groups if channel.owns(chat)})

    async def _make_ready(self, services: Services, group: RegisteredGroup) -> bool:
        try:
            await anyio.to_thread.run_sync(make_group_directory, self._home, group.folder)
            await anyio.to_thread.run_sync(mounts.prepare, self._home, group)
            await services.mailbox.open(group.folder)
            await services.snapshots.refresh(group)
        except (SandboxError, HostError) as error:
            log.error("group.not_ready", folder=group.folder, problem=str(error), hint=error.hint)  # noqa: TRY400
            return False
        return True

    async def _status(self, services: Services) -> dict[str, Any]:
        problem = services.groups.problem
        return {
            "host": {
                "running": True,
                "pid": os.getpid(),
                "version": __version__,
                "since": iso(self._since),
                "root": is_root(),
                "problem": (self._lives.past or None) if self._lives else None,
            },
            **await services.database.read(stored_status),
            "sandbox": {**self._sandbox.describe(), "proofs": proofs_status(self._home, services.groups.groups)},
            "groups": groups_status(services.groups.groups),
            "channels": [channel_status(channel) for channel in services.channels],
            "network": network_status(services.groups.groups, services.gateway.counts),
            "groups_problem": str(problem) if problem else None,
            "page": self._page,
        }


def _folders(groups: GroupRegistry) -> list[Folder]:
    return [group.folder for group in groups.groups.values()]


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
