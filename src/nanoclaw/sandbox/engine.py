"""Sandboxes that are containers: podman, Docker and Apple's `container`, each driven by its own command line tool."""

import os
import platform
import secrets
import shutil
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial

import anyio
import structlog

from nanoclaw.config import SandboxSettings, command_environment
from nanoclaw.errors import NanoclawError, SandboxError
from nanoclaw.model import Folder
from nanoclaw.sandbox.base import Health, SandboxSpec, Traits
from nanoclaw.sandbox.engine_commands import (
    ENGINES,
    EngineName,
    complaint,
    cure,
    explain,
    list_arguments,
    listed_names,
    missing_limits,
    run_arguments,
    traits,
)
from nanoclaw.sandbox.image import build_image, find_image
from nanoclaw.sandbox.limits import limits_of
from nanoclaw.sandbox.payload import CARRIER_COMMAND
from nanoclaw.sandbox.probe import PROBE_COMMAND, PROBE_IMAGE, probe_image
from nanoclaw.sandbox.process import CompletedCommand, Process, open_process, run_command

_ANSWER_SECONDS = 30.0  # a tenth of a second, but podman waits 20 s for a cleanup of its own that hangs
_CANARY = "NANOCLAW_CANARY"
_LONGEST_LINE = 1 << 16  # the probe prints nothing

_log = structlog.get_logger()


class EngineSandbox:
    """A container for each run. `check` finds out what this machine's engine needs, and `start` makes use of it."""

    def __init__(self, name: EngineName, settings: SandboxSettings) -> None:
        self.name: str = name
        self._engine: EngineName = name
        self._settings = settings
        self._runtime = settings.runtime
        self._image: str | None = settings.image or None
        self._unlimited: tuple[str, ...] = ()
        self._carries = settings.way_out == "stdio" or (
            settings.way_out == "auto" and (name == "container" or platform.system() != "Linux")
        )

    def traits(self) -> Traits:
        """What a proof has to know of it; complete once it was checked."""
        known = traits(self._engine, self._runtime, passes_sockets=not self._carries)
        return replace(known, limits_groups=not self._unlimited)

    async def check(self) -> Health:
        """Start something harmless with the real flags, and with another OCI runtime if that helps. Never raises."""
        if shutil.which(self.name) is None:
            return Health(ok=False, reason=f"{self.name} is not installed", hint=ENGINES[self._engine].install)
        try:
            if self.name == "container":
                await self._demand("system", "status")
                return Health(ok=True, lacks=self._lacks())
            if self.name == "docker":
                if await self._is_rootless_docker():
                    reason = "under rootless Docker agents cannot use their files"
                    return Health(ok=False, reason=reason, hint="use podman")
                self._carries |= self._settings.way_out == "auto" and await self._is_docker_desktop()
            return await self._try()
        except NanoclawError as error:
            return Health(ok=False, reason=str(error), hint=error.hint)

    @asynccontextmanager
    async def start(self, spec: SandboxSpec) -> AsyncGenerator[Process]:
        """Run `spec`; leaving the context ends and removes the container.

        Raises:
            SandboxError: there is no image, or no such command; from `lines` and `send_line`, when it turns out only
                then that the engine could not start it.
        """
        if self._image is None and not await self.is_built():
            raise SandboxError("the agents' image is missing", "build it with `nanoclaw image build`")
        async with self._run(spec, str(self._image)) as process:
            yield process

    @asynccontextmanager
    async def way_out(self, spec: SandboxSpec) -> AsyncGenerator[Process | None]:
        """A carrier in the container of `spec`, unless the gateway's socket is mounted."""
        if not self._carries:
            yield None
            return
        argv = [self.name, *self._global_options(), "exec", "--interactive", spec.name, *CARRIER_COMMAND]
        async with open_process(argv, command_environment()) as process:
            yield process

    async def sweep(self, installation: str) -> list[str]:
        """Kill and remove every container of this installation; answers their names."""
        found = await self._demand(*list_arguments(self._engine, installation)[1:])
        names = listed_names(self._engine, installation, found.stdout)
        if names:
            await self._remove(*names)
        return names

    async def build(self, base: str | None = None, *, browser: bool = True) -> AsyncGenerator[str]:
        """Build this version's image where it is missing; yields progress, a line each."""
        if self._settings.image:
            raise SandboxError(
                f"sandbox.image names {self._settings.image}, which is your own", "build or load it yourself"
            )
        async with aclosing(build_image(self.name, self._global_options(), base, browser=browser)) as lines:
            async for line in lines:
                yield line
        self._image = None

    async def is_built(self) -> bool:
        """Whether the image is there: the one that the settings name, else that of this version."""
        if self._settings.image:
            return (await self._ask("image", "inspect", self._settings.image)).returncode == 0
        self._image = await find_image(self.name, self._global_options())
        return self._image is not None

    @asynccontextmanager
    async def _run(self, spec: SandboxSpec, image: str) -> AsyncGenerator[Process]:
        argv = run_arguments(self._engine, spec, image, self._runtime)
        process: Process | None = None
        try:
            environment = command_environment() | {_CANARY: spec.canary}
            async with open_process(argv, environment, explain=partial(explain, self._engine, image)) as process:
                yield process
        finally:
            # A client that was killed leaves its container running.
            if process is None or process.killed:
                with anyio.CancelScope(shield=True):
                    await self._remove(spec.name)

    async def _remove(self, *names: str) -> None:
        """Already gone is success; whatever else fails is left to the next sweep."""
        try:
            removed = await self._ask(*ENGINES[self._engine].remove, *names)
        except SandboxError as error:
            _log.warning("sandbox.not_removed", sandboxes=names, reason=str(error))
            return
        if removed.returncode and "no such container" not in removed.stderr.lower():
            _log.warning("sandbox.not_removed", sandboxes=names, reason=complaint(removed.stderr))

    async def _try(self) -> Health:
        """Start the probe with the engine's own OCI runtime; where podman's cannot, runc often can."""
        try:
            return await self._start_probe()
        except SandboxError as first:
            if self.name != "podman" or self._runtime or shutil.which("runc") is None:
                raise
            self._runtime = "runc"
            try:
                return await self._start_probe()
            except SandboxError:
                self._runtime = ""
                raise first from None

    async def _start_probe(self) -> Health:
        if (await self._ask("image", "inspect", PROBE_IMAGE)).returncode:
            await self._demand("import", "-", PROBE_IMAGE, input=probe_image(platform.machine()))
        spec = SandboxSpec(
            name=f"nanoclaw-check-{secrets.token_hex(6)}",
            installation="check",
            folder=Folder("check"),
            mounts=(),
            command=PROBE_COMMAND,
            limits=limits_of(self._settings),
        )
        with anyio.move_on_after(_ANSWER_SECONDS):
            async with self._run(spec, PROBE_IMAGE) as process:
                async for _ in process.lines(_LONGEST_LINE):
                    pass
                if status := await process.wait():
                    raise SandboxError(f"{self.name}: the probe ended with status {status}")
                self._unlimited = missing_limits(process.stderr_tail())
                return Health(ok=True, lacks=(*self._lacks(), *self._unlimited))
        raise SandboxError(f"{self.name} does not start a container within {_ANSWER_SECONDS:g} s")

    def _lacks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.traits().excused.values()))

    async def _is_rootless_docker(self) -> bool:
        return os.geteuid() != 0 and "rootless" in (await self._ask("info", "--format", "{{.SecurityOptions}}")).stdout

    async def _is_docker_desktop(self) -> bool:
        """Its containers are in a virtual machine, also on Linux."""
        return "docker desktop" in (await self._ask("info", "--format", "{{.OperatingSystem}}")).stdout.lower()

    def _global_options(self) -> tuple[str, ...]:
        return ("--runtime", self._runtime) if self._runtime and ENGINES[self._engine].runtime_is_global else ()

    async def _demand(self, *arguments: str, input: bytes | None = None) -> CompletedCommand:
        answer = await self._ask(*arguments, input=input)
        if answer.returncode:
            raise SandboxError(f"{self.name}: {complaint(answer.stderr)}", cure(answer.stderr), retryable=True)
        return answer

    async def _ask(self, *arguments: str, input: bytes | None = None) -> CompletedCommand:
        return await run_command((self.name, *arguments), command_environment(), _ANSWER_SECONDS, input)
