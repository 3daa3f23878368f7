"""One attempt of one run, from its messages to its outcome."""

import json
from functools import partial
from secrets import token_hex
from typing import Final
from zoneinfo import ZoneInfo

import anyio
import anyio.to_thread
import structlog

from nanoclaw import credentials
from nanoclaw.config import load_secrets, machine_timezone
from nanoclaw.credentials import Credential
from nanoclaw.errors import ConfigError, CredentialError, SandboxError, WireError
from nanoclaw.failures import Failure, judge, notice, task_notice
from nanoclaw.formatting import reply_text
from nanoclaw.logs import RunLog, run_log
from nanoclaw.model import RegisteredGroup, Run, ScheduledTask
from nanoclaw.outcome import Answered, Hearing, Outcome, died
from nanoclaw.prompts import local_time
from nanoclaw.providers import PROVIDERS
from nanoclaw.request import build_request, is_late, timeout_seconds
from nanoclaw.sandbox import mounts
from nanoclaw.sandbox.base import SandboxProcess, SandboxSpec
from nanoclaw.sandbox.limits import limits_of
from nanoclaw.services import Services
from nanoclaw.store import runs, tasks
from nanoclaw.store.runs import Failing, Success
from nanoclaw.taskview import in_zone
from nanoclaw.wire import MAX_EVENT_BYTES, ContainerInput

_START_SECONDS: Final = 60.0  # from the sandbox's start to the runner's first word, on a slow and busy machine
_END_SECONDS: Final = 10.0  # from the end of the runner's output to the end of its sandbox
_DEADLINE_GRACE_SECONDS: Final = 15.0  # the runner ends itself at the deadline; this much later it is ended

log = structlog.stdlib.get_logger()


class Executor:
    """Executes claimed runs."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._zone = ZoneInfo(services.settings.timezone or machine_timezone())

    async def execute(self, run: Run) -> None:
        """Carry out one attempt and record its outcome; when cancelled, put the run back."""
        channel = self._services.channel(run.chat)
        group = self._services.groups.by_folder(run.folder)
        if group is None or channel is None:
            await self._services.database.write(runs.drop, run)
            return
        attempt = _Attempt(self._services, run, group, self._zone, channel.title)
        try:
            await channel.set_typing(run.chat, True)
            await attempt.carry_out()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                if await self._services.database.write(runs.interrupt, run, self._services.clock.now()):
                    log.warning("run.put_back", run=run.id, folder=run.folder)
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await channel.set_typing(run.chat, False)


class _Attempt:
    """One attempt; its outcome is recorded as soon as it is known, before the sandbox is gone."""

    def __init__(
        self, services: Services, run: Run, group: RegisteredGroup, zone: ZoneInfo, channel_title: str
    ) -> None:
        self._services = services
        self._run = run
        self._group = group
        self._zone = zone
        self._channel_title = channel_title
        self._task: ScheduledTask | None = None
        self._secrets: dict[str, str] = {}

    async def carry_out(self) -> None:
        try:
            await self._in_sandbox()
        except CredentialError as error:
            failure = Failure(kind="not_signed_in", detail=str(error), retryable=False, hint=error.hint)
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
        self._secrets = load_secrets(services.home)
        credential = credentials.resolve(group, self._secrets, services.home)
        if credential.note:
            log.info("run.credential", run=run.id, folder=run.folder, note=credential.note)
        request = await services.database.read(
            build_request, run, group, credential, services.settings, self._zone, self._channel_title
        )
        sandbox = await services.sandbox()
        spec = await self._prepare(credential)
        redact = partial(credentials.redact, secrets=self._secrets)
        keep = services.settings.runs.keep_logs
        name = f"{run.id:06d}-{run.attempt}"
        with run_log(services.home.run_logs(run.folder), name, services.clock, redact, keep) as record:
            record.write(
                "start", sandbox=sandbox.name, name=spec.name, provider=group.provider, prompt=request["prompt"]
            )
            async with sandbox.start(spec) as process:
                outcome = await self._converse(process, request, record)
                await services.mailbox.drain(run.folder)
                await self._settle(outcome)
                record.write("stderr", text=process.stderr_tail())

    async def _prepare(self, credential: Credential) -> SandboxSpec:
        services, run = self._services, self._run
        await anyio.to_thread.run_sync(mounts.prepare, services.home, self._group)
        await services.mailbox.open(run.folder)
        await services.gateway.open(run.folder, credential.route)
        return SandboxSpec(
            name=f"nanoclaw-{services.installation}-{run.folder}-{run.id}-{run.attempt}-{token_hex(3)}",
            installation=services.installation,
            folder=run.folder,
            mounts=mounts.group_mounts(services.home, self._group, services.groups.groups.values()),
            environment={"TZ": self._zone.key},
            limits=limits_of(services.settings.sandbox),
        )

    async def _converse(self, process: SandboxProcess, request: ContainerInput, record: RunLog) -> Outcome:
        hearing = Hearing()
        limit = timeout_seconds(self._group, self._services.settings) + _DEADLINE_GRACE_SECONDS
        try:
            await process.send_line(json.dumps(request).encode())
            with anyio.fail_after(limit), anyio.CancelScope(deadline=anyio.current_time() + _START_SECONDS) as start:
                async for line in process.lines(MAX_EVENT_BYTES):
                    record.write("event", event=line.decode("utf-8", "replace"))
                    hearing.take(line)
                    start.deadline = float("inf")
                    if hearing.outcome is not None:
                        return hearing.outcome
        except WireError as error:
            return Failure(kind="crashed", detail=str(error), retryable=not error.hint, hint=error.hint)
        except TimeoutError:
            return Failure(kind="timeout", detail="stopped by the host", retryable=False)
        if start.cancelled_caught:
            return Failure(kind="sandbox", detail="the runner did not begin in time", retryable=True)
        with anyio.move_on_after(_END_SECONDS):
            return died(await process.wait(), process.stderr_tail())
        return Failure(kind="crashed", detail="it closed its output and went on", retryable=True)

    async def _settle(self, outcome: Outcome) -> None:
        """Record the outcome, once: a second call finds the attempt over and changes nothing."""
        with anyio.CancelScope(shield=True):
            if isinstance(outcome, Answered):
                await self._finish(outcome)
            else:
                await self._fail(outcome)
        self._services.pulses.outbox.fire()
        self._services.pulses.runs.fire()

    async def _finish(self, answered: Answered) -> None:
        isolated = self._task is not None and self._task.context_mode == "isolated"
        success = Success(
            reply=self._reply(answered.text),
            provider=self._group.provider,
            session_id=None if isolated else answered.session_id,
            usage=answered.usage,
        )
        if await self._services.database.write(runs.finish, self._run, success, self._services.clock.now()):
            log.info("run.done", run=self._run.id, folder=self._run.folder, attempt=self._run.attempt)

    def _reply(self, text: str) -> str:
        """What the chat is shown; a task's answer that comes late says so."""
        reply = reply_text(text)
        if reply and self._task is not None and is_late(self._run):
            due = in_zone(self._task, self._run.scheduled_for)
            return f"(This was due at {due}; I was not running then.)\n\n{reply}"
        return reply

    async def _fail(self, failure: Failure) -> None:
        services, run = self._services, self._run
        now = services.clock.now()
        failures = run.failures + 1
        settings = services.settings.runs
        verdict = judge(failure, failures, now, most=settings.max_attempts, base_seconds=settings.retry_base_seconds)
        provider = PROVIDERS[self._group.provider]
        told = None
        if verdict.notify:
            sign_in = provider.sign_in.format(home=services.home.root, folder=run.folder)
            resets = local_time(verdict.retry_at, self._zone) if verdict.retry_at else ""
            told = notice(failure, provider=provider.title, sign_in=sign_in, failures=failures, resets=resets)
            if self._task is not None:
                told = task_notice(self._task.id, self._task.prompt, told)
        detail = credentials.redact(failure.detail, self._secrets)
        failing = Failing(
            kind=failure.kind,
            detail=detail,
            provider=self._group.provider,
            retry_at=verdict.retry_at,
            notice=told and credentials.redact(told, self._secrets),
        )
        if await services.database.write(runs.fail, run, failing, now):
            log.warning(
                "run.failed", run=run.id, folder=run.folder, kind=failure.kind, retry=verdict.retry_at is not None
            )
