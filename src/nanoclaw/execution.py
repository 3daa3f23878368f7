"""One attempt of one run, from its messages to its outcome."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from functools import partial
from secrets import token_hex
from typing import Final
from zoneinfo import ZoneInfo

import anyio
import anyio.to_thread
import structlog

from nanoclaw import credentials
from nanoclaw.budget import day_of, used_up
from nanoclaw.config import machine_timezone
from nanoclaw.credentials import Access, Credential
from nanoclaw.errors import ConfigError, CredentialError, NanoclawError, SandboxError, StoreError, WireError
from nanoclaw.failures import Failure, judge, notice, task_notice
from nanoclaw.formatting import printable, reply_text, spoken_time
from nanoclaw.logs import RunLog, run_log
from nanoclaw.model import Budget, RegisteredGroup, Run, ScheduledTask
from nanoclaw.outcome import Answered, Hearing, Outcome, died
from nanoclaw.providers import PROVIDERS
from nanoclaw.request import build_request, is_late, timeout_seconds
from nanoclaw.sandbox import mounts, proof
from nanoclaw.sandbox.base import Sandbox, SandboxProcess, SandboxSpec
from nanoclaw.sandbox.disk import Disk
from nanoclaw.sandbox.limits import limits_of
from nanoclaw.sandbox.proof import Record, Verdict
from nanoclaw.services import Services
from nanoclaw.store import endings, runs, tasks, usage
from nanoclaw.store.endings import Failing, Success
from nanoclaw.taskview import in_zone
from nanoclaw.timeline import Timeline
from nanoclaw.vigil import Vigil
from nanoclaw.wire import MAX_EVENT_BYTES, ContainerInput, FailureKind

_START_SECONDS: Final = 60.0  # from the sandbox's start to the runner's first word, on a slow and busy machine
_END_SECONDS: Final = 10.0  # from the end of the runner's output to the end of its sandbox
_DEADLINE_GRACE_SECONDS: Final = 15.0  # the runner ends itself at the deadline; this much later it is ended

_NOT_RECORDED: Final = "the host was stopped while the database could not be written; it is put back at the next start"

log = structlog.stdlib.get_logger()


class Executor:
    """Executes claimed runs."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._zone = ZoneInfo(services.settings.timezone or machine_timezone())
        self._disk = Disk(services.home, services.settings.sandbox.disk_bytes)

    async def execute(self, run: Run) -> None:
        """Carry out one attempt and record its outcome; when cancelled, put the run back."""
        channel = self._services.channel(run.chat)
        group = self._services.groups.by_folder(run.folder)
        if group is None or channel is None:
            await self._services.database.write_surely(runs.drop, run)
            return
        vigil = Vigil(self._services, run, channel)
        timeline = Timeline(run, group.provider, self._services.clock)
        attempt = _Attempt(self._services, run, group, self._zone, channel.title, self._disk, vigil, timeline)
        with self._services.watching(timeline):
            try:
                async with vigil.kept():
                    await attempt.carry_out()
            except anyio.get_cancelled_exc_class():
                with anyio.CancelScope(shield=True):
                    await self._put_back(run)
                raise

    async def _put_back(self, run: Run) -> None:
        try:
            if await self._services.database.write_surely(endings.interrupt, run, self._services.clock.now()):
                log.warning("run.put_back", run=run.id, folder=run.folder)
        except StoreError:
            log.error("run.not_recorded", run=run.id, folder=run.folder, hint=_NOT_RECORDED)  # noqa: TRY400


class _Attempt:
    """One attempt; its outcome is recorded as soon as it is known, before the sandbox is gone."""

    def __init__(
        self,
        services: Services,
        run: Run,
        group: RegisteredGroup,
        zone: ZoneInfo,
        channel_title: str,
        disk: Disk,
        vigil: Vigil,
        timeline: Timeline,
    ) -> None:
        self._services = services
        self._run = run
        self._group = group
        self._zone = zone
        self._channel_title = channel_title
        self._disk = disk
        self._vigil = vigil
        self._timeline = timeline
        self._task: ScheduledTask | None = None
        self._access: Access | None = None
        self._resumes = False

    async def carry_out(self) -> None:
        try:
            await self._in_sandbox()
        except CredentialError as error:
            kind: FailureKind = "network" if error.retryable else "not_signed_in"
            failure = Failure(kind=kind, detail=str(error), retryable=error.retryable, hint=error.hint)
        except SandboxError as error:
            failure = Failure(kind="sandbox", detail=str(error), retryable=error.retryable, hint=error.hint)
        except ConfigError as error:
            failure = Failure(kind="internal", detail=str(error), retryable=False, hint=error.hint)
        except Exception:
            log.exception("run.bug", run=self._run.id, folder=self._run.folder)
            failure = Failure(kind="internal", detail="the host's log says more", retryable=True)
        else:
            return
        await self._settle(failure)

    async def _in_sandbox(self) -> None:
        services, run, group = self._services, self._run, self._group
        if run.task_id is not None:
            self._task = await services.database.read(tasks.get, run.task_id)
        if (over := await self._over_budget()) is not None:
            await self._settle(over)
            return
        access = await services.credentials.for_run(group, timeout_seconds(group, services.settings))
        self._access, credential = access, access.credential
        if credential.note:
            log.info("run.credential", run=run.id, folder=run.folder, note=credential.note)
        request = await services.database.read(
            build_request, run, group, credential, services.settings, self._zone, self._channel_title
        )
        self._resumes = "sessionId" in request
        if await self._disk.is_full(group):
            await self._settle(self._disk_is_full())
            return
        sandbox = await services.sandbox()
        await self._run_in(sandbox, await self._prepare(sandbox, credential), request, access)

    async def _run_in(self, sandbox: Sandbox, spec: SandboxSpec, request: ContainerInput, access: Access) -> None:
        services, run = self._services, self._run
        keep = services.settings.runs.keep_logs
        name = f"{run.id:06d}-{run.attempt}"
        with run_log(services.home.run_logs(run.folder), name, services.clock, self._redact, keep) as record:
            record.write(
                "start", sandbox=sandbox.name, name=spec.name, provider=self._group.provider, prompt=request["prompt"]
            )
            self._timeline.starts(sandbox.name)
            async with AsyncExitStack() as loans, sandbox.start(spec) as process:

                async def hand_over() -> None:
                    if pipe := await loans.enter_async_context(sandbox.way_out(spec)):
                        await services.gateway.carry(run.folder, pipe)
                    await loans.enter_async_context(services.credentials.lent(run.folder, access))
                    await process.send_line(json.dumps(request).encode())

                outcome = await self._within_quota(partial(self._converse, sandbox, spec, process, hand_over, record))
                self._timeline.stage("settle")
                await services.mailbox.drain(run.folder)
                await self._settle(outcome)
                self._timeline.stage("end")
                record.write("stderr", text=process.stderr_tail())

    async def _over_budget(self) -> Failure | None:
        if self._group.budget == Budget():
            return None
        today, tomorrow = day_of(self._services.clock.now(), self._zone)
        spent = await self._services.database.read(usage.spent, self._run.folder, today)
        return used_up(self._group.budget, spent, tomorrow)

    async def _prepare(self, sandbox: Sandbox, credential: Credential) -> SandboxSpec:
        services, run = self._services, self._run
        await anyio.to_thread.run_sync(mounts.prepare, services.home, self._group)
        await services.mailbox.open(run.folder)
        await services.snapshots.refresh(self._group)
        await services.gateway.open(run.folder, credential.route)
        return SandboxSpec(
            name=f"nanoclaw-{services.installation}-{run.folder}-{run.id}-{run.attempt}-{token_hex(3)}",
            installation=services.installation,
            folder=run.folder,
            mounts=mounts.group_mounts(
                services.home,
                self._group,
                services.groups.groups.values(),
                sockets=sandbox.traits().passes_sockets,
            ),
            environment={"TZ": self._zone.key},
            limits=limits_of(services.settings.sandbox),
            canary=token_hex(16),
        )

    async def _within_quota(self, converse: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Converse for as long as the group's files have room."""
        outcome: Outcome = self._disk_is_full()
        problem: NanoclawError | None = None

        async def watch() -> None:
            await self._disk.until_full(self._group)
            conversing.cancel()

        async with anyio.create_task_group() as watching:
            watching.start_soon(watch, name="disk")
            with anyio.CancelScope() as conversing:
                try:
                    outcome = await converse()
                except NanoclawError as error:
                    problem = error
            watching.cancel_scope.cancel()
        if problem is not None:
            raise problem
        return outcome

    def _disk_is_full(self) -> Failure:
        limit = self._services.settings.sandbox.disk
        return Failure(kind="disk", detail=f"more than {limit}, with what its agent remembers", retryable=False)

    async def _prove(
        self, sandbox: Sandbox, spec: SandboxSpec, process: SandboxProcess, lines: AsyncIterator[bytes]
    ) -> Verdict:
        """Have the sandbox tried from inside. Nothing of the run is in it yet."""
        home, traits = self._services.home, sandbox.traits()
        asked = await anyio.to_thread.run_sync(proof.ask, home, traits, spec)
        await process.send_line(json.dumps(asked).encode())
        verdict = proof.judge(await anext(lines, None), traits)
        if not verdict.held:
            log.error("sandbox.does_not_hold", sandbox=sandbox.name, folder=spec.folder, **asdict(verdict))
        return verdict

    async def _converse(
        self,
        sandbox: Sandbox,
        spec: SandboxSpec,
        process: SandboxProcess,
        hand_over: Callable[[], Awaitable[None]],
        record: RunLog,
    ) -> Outcome:
        """Have the sandbox proven, hand over what the run needs, and hear what comes of it."""
        self._timeline.stage("proof")
        verdict = proof.LATE
        limit = timeout_seconds(self._group, self._services.settings) + _DEADLINE_GRACE_SECONDS
        lines = process.lines(MAX_EVENT_BYTES)
        try:
            with anyio.fail_after(limit), anyio.CancelScope(deadline=anyio.current_time() + _START_SECONDS) as start:
                verdict = await self._prove(sandbox, spec, process, lines)
                self._timeline.proved(held=verdict.held)
                if verdict.held:
                    await hand_over()
                await self._keep_proof(sandbox.name, verdict, record)
                if not verdict.held:
                    return verdict.failure(process.stderr_tail())
                if outcome := await self._hear(lines, start, record):
                    return outcome
        except WireError as error:
            return Failure(kind="crashed", detail=str(error), retryable=not error.hint, hint=error.hint)
        except TimeoutError:
            return Failure(kind="timeout", detail="stopped by the host", retryable=False)
        if start.cancelled_caught:
            if verdict is proof.LATE:
                await self._keep_proof(sandbox.name, verdict, record)
            return Failure(kind="sandbox", detail="the runner did not begin in time", retryable=True)
        with anyio.move_on_after(_END_SECONDS):
            return died(await process.wait(), process.stderr_tail())
        return Failure(kind="crashed", detail="it closed its output and went on", retryable=True)

    async def _hear(self, lines: AsyncIterator[bytes], start: anyio.CancelScope, record: RunLog) -> Outcome | None:
        """What the runner says, to its outcome; None: it ended without one. With its first word `start` is over."""
        hearing = Hearing()
        async for line in lines:
            record.write("event", event=line.decode("utf-8", "replace"))
            self._services.pulses.activity.fire()
            event = hearing.take(line)
            self._vigil.take(event)
            self._timeline.take(event)
            start.deadline = float("inf")
            if hearing.outcome is not None:
                return hearing.outcome
        return None

    async def _keep_proof(self, sandbox: str, verdict: Verdict, record: RunLog) -> None:
        record.write("proof", **asdict(verdict))
        last = Record(folder=self._run.folder, sandbox=sandbox, at=self._services.clock.now(), verdict=verdict)
        await anyio.to_thread.run_sync(proof.keep, self._services.home, last)

    async def _settle(self, outcome: Outcome) -> None:
        """Record the outcome, once: a second call finds the attempt over and changes nothing."""
        with anyio.CancelScope(shield=True):
            try:
                await (self._finish(outcome) if isinstance(outcome, Answered) else self._fail(outcome))
            except StoreError:
                log.error("run.not_recorded", run=self._run.id, folder=self._run.folder, hint=_NOT_RECORDED)  # noqa: TRY400
        self._services.pulses.outbox.fire()
        self._services.pulses.runs.fire()

    async def _finish(self, answered: Answered) -> None:
        isolated = self._task is not None and self._task.context_mode == "isolated"
        success = Success(
            reply=self._reply(answered.text),
            provider=self._group.provider,
            session_id=None if isolated else answered.session_id,
            usage=answered.usage,
            told_changes=self._resumes,
        )
        if await self._services.database.write_surely(endings.finish, self._run, success, self._services.clock.now()):
            self._timeline.done(answered.usage)
            log.info("run.done", run=self._run.id, folder=self._run.folder, attempt=self._run.attempt)

    def _reply(self, text: str) -> str:
        """What the chat is shown; a task's answer that comes late says so."""
        reply = reply_text(text)
        if reply and self._task is not None and is_late(self._run):
            due = in_zone(self._task, self._run.scheduled_for)
            return f"(This was due at {due}; I was not running then.)\n\n{reply}"
        return reply

    def _redact(self, text: str) -> str:
        return credentials.redact(text, self._access.secrets) if self._access else text

    async def _fail(self, failure: Failure) -> None:
        services, run = self._services, self._run
        if failure.kind == "auth" and self._access and services.credentials.suspect(self._access):
            failure = replace(failure, retryable=True)
        now = services.clock.now()
        failures = run.failures + 1
        settings = services.settings.runs
        verdict = judge(failure, failures, now, most=settings.max_attempts, base_seconds=settings.retry_base_seconds)
        provider = PROVIDERS[self._group.provider]
        told = None
        if verdict.notify:
            sign_in = provider.sign_in.format(nanoclaw=services.home.program, home=services.home.root)
            resets = spoken_time(verdict.retry_at, self._zone) if verdict.retry_at else ""
            told = notice(failure, provider=provider.title, sign_in=sign_in, failures=failures, resets=resets)
            if self._task is not None:
                told = task_notice(self._task.id, self._task.prompt, told)
        failing = Failing(
            kind=failure.kind,
            detail=printable(self._redact(failure.detail)),
            provider=self._group.provider,
            retry_at=verdict.retry_at,
            notice=told and self._redact(told),
        )
        if await services.database.write_surely(endings.fail, run, failing, now):
            self._timeline.failed(failure.kind, again=verdict.retry_at is not None)
            log.warning(
                "run.failed", run=run.id, folder=run.folder, kind=failure.kind, retry=verdict.retry_at is not None
            )
