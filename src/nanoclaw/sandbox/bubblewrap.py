"""The sandbox for machines without a container engine: namespaces made by bubblewrap over this machine's own `/usr`.

An ordinary user's agent runs in a user namespace, as uid 1000 inside. Where the host is root there is none: bubblewrap
sets up the mounts as root, for the interpreter may lie below a directory that only root enters, and `setpriv` then
gives up everything before the command starts.
"""

import os
import platform
import secrets
import shutil
import signal
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Final

import anyio

from nanoclaw.config import SandboxSettings
from nanoclaw.errors import NanoclawError, SandboxError
from nanoclaw.model import Folder
from nanoclaw.sandbox.base import Health, SandboxSpec, Traits
from nanoclaw.sandbox.bubblewrap_commands import FILES, Tools, bubblewrap_arguments, explain, fixtures
from nanoclaw.sandbox.cgroups import Place, find_places, groups_of, limited, missing_limits, remove
from nanoclaw.sandbox.limits import limits_of
from nanoclaw.sandbox.payload import ENVIRONMENT
from nanoclaw.sandbox.process import Process, last_line, open_process
from nanoclaw.sandbox.seccomp import bpf_filter
from nanoclaw.sandbox.toolkit import Toolkit, build_toolkit, find_toolkit

_INSTALLATION = "NANOCLAW_INSTALLATION"
_SANDBOX = "NANOCLAW_SANDBOX"
"""In the environment of bubblewrap and of what runs inside: by these a sweep knows its own."""

_OWN_IMAGE: Final = "an image of its own: agents see this machine's programs in /usr"
_OWN_USER: Final = "a user of its own: it runs as yours"
_CHECK_SECONDS = 20.0  # takes some twentieth of a second
_LONGEST_LINE = 1 << 16
_IS_CONFINED = (
    r'test "$(id -u)" = 1000 && grep -q "^CapEff:\s*0*$" /proc/self/status'
    r' && grep -q "^Seccomp:\s*2$" /proc/self/status && grep -q "^NoNewPrivs:\s*1$" /proc/self/status'
)
_JOIN_GROUPS = 'while [ "$1" != -- ]; do echo 0 > "$1" || exit 125; shift; done; shift; exec "$@"'


class BubblewrapSandbox:
    """A process tree in namespaces of its own for each run; it dies with the host."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.name = "bubblewrap"
        self._settings = settings
        self._toolkit: Toolkit | None = None
        self._places: tuple[Place, ...] | None = None

    def traits(self) -> Traits:
        """What a proof has to know of it; complete once the toolkit is found."""
        binds = self._toolkit.binds if self._toolkit else ()
        return Traits(fixtures=(*fixtures(), *(mount.target for mount in binds)))

    async def check(self) -> Health:
        """Start a shell with the real flags that looks whether it is confined. Never raises."""
        try:
            _find_tools()
            await self._try()
        except NanoclawError as error:
            return Health(ok=False, reason=str(error), hint=error.hint)
        places = self._places or ()
        if os.geteuid() == 0:
            return Health(ok=True, lacks=(_OWN_IMAGE, *missing_limits(places)))
        # in a user namespace the limit on processes is prlimit's
        return Health(ok=True, lacks=(_OWN_IMAGE, _OWN_USER, *missing_limits(places, otherwise=("pids",))))

    @asynccontextmanager
    async def start(self, spec: SandboxSpec) -> AsyncGenerator[Process]:
        """Run `spec`; leaving the context ends it and everything in it.

        Raises:
            SandboxError: the toolkit or a program is missing; from `lines` and `send_line`, when bubblewrap failed.
        """
        toolkit = self._toolkit = self._toolkit or find_toolkit()
        if toolkit is None:
            raise SandboxError("the agents' programs are missing", "build them with `nanoclaw image build`")
        async with self._run(spec, toolkit) as process:
            yield process

    @asynccontextmanager
    async def way_out(self, spec: SandboxSpec) -> AsyncGenerator[None]:
        """Sockets pass."""
        yield

    async def sweep(self, installation: str) -> list[str]:
        """Kill every sandbox of this installation that outlived its host; answers their names."""
        names = await anyio.to_thread.run_sync(_kill_survivors, installation)
        places = await anyio.to_thread.run_sync(find_places)
        await remove(groups_of(places, _group_prefix(installation)))
        return names

    async def build(self, base: str | None = None, *, browser: bool = True) -> AsyncGenerator[str]:
        """Fetch the toolkit where it is missing; yields progress, a line each. The arguments are for images."""
        async with aclosing(build_toolkit()) as lines:
            async for line in lines:
                yield line

    async def is_built(self) -> bool:
        """Whether this version's toolkit is there."""
        self._toolkit = find_toolkit()
        return self._toolkit is not None

    async def _try(self) -> None:
        self._places = await anyio.to_thread.run_sync(find_places)
        try:
            await self._start_shell()
        except SandboxError:
            if not self._places:
                raise
            self._places = ()  # it may be that the groups cannot be used: then without limits
            await self._start_shell()

    async def _start_shell(self) -> None:
        bare = Toolkit(binds=(), environment=dict(ENVIRONMENT), runner_command=())
        spec = SandboxSpec(
            name=f"check-{secrets.token_hex(6)}",
            installation="check",
            folder=Folder("check"),
            mounts=(),
            command=("sh", "-c", _IS_CONFINED),
            limits=limits_of(self._settings),
        )
        with anyio.move_on_after(_CHECK_SECONDS):
            async with self._run(spec, bare) as process:
                async for _ in process.lines(_LONGEST_LINE):
                    pass
                if await process.wait():
                    raise SandboxError("bubblewrap: the sandbox is not confined", last_line(process.stderr_tail()))
                return
        raise SandboxError(f"bubblewrap does not start a shell within {_CHECK_SECONDS:g} s")

    @asynccontextmanager
    async def _run(self, spec: SandboxSpec, toolkit: Toolkit) -> AsyncGenerator[Process]:
        if self._places is None:
            self._places = await anyio.to_thread.run_sync(find_places)
        environment = toolkit.environment | spec.environment
        environment |= {_INSTALLATION: spec.installation, _SANDBOX: spec.name}
        async with limited(self._places, _group_prefix(spec.installation) + spec.name, spec.limits) as entrances:
            with ExitStack() as files:
                argv, fds = _arguments(files, spec, toolkit)
                if entrances:
                    argv = ["/bin/sh", "-c", _JOIN_GROUPS, "limits", *entrances, "--", *argv]
                async with open_process(argv, environment, pass_fds=fds, explain=explain) as process:
                    files.close()
                    yield process


def _arguments(files: ExitStack, spec: SandboxSpec, toolkit: Toolkit) -> tuple[list[str], list[int]]:
    """The command line, and the descriptors that it names; `files` closes them."""
    seccomp = _in_memory(files, bpf_filter(platform.machine()))
    file_fds = {path: _in_memory(files, text.encode()) for path, text in FILES.items()}
    argv = bubblewrap_arguments(
        spec,
        _find_tools(),
        toolkit.binds,
        spec.command or toolkit.runner_command,
        as_root=os.geteuid() == 0,
        seccomp_fd=seccomp,
        file_fds=file_fds,
    )
    return argv, [seccomp, *file_fds.values()]


def _in_memory(files: ExitStack, content: bytes) -> int:
    """A descriptor from which `content` can be read once."""
    fd = os.memfd_create("nanoclaw")
    files.callback(os.close, fd)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


@cache
def _find_tools() -> Tools:
    if platform.system() != "Linux":
        raise SandboxError("bubblewrap works on Linux only", "install podman or Docker")
    packages = {"bwrap": "bubblewrap", "prlimit": "util-linux", "setpriv": "util-linux"}
    found = {name: shutil.which(name) for name in packages}
    for name, path in found.items():
        if path is None:
            raise SandboxError(f"{name} is not installed", f"apt-get install {packages[name]}")
    return Tools(**{name: str(path) for name, path in found.items()})


def _group_prefix(installation: str) -> str:
    return f"nanoclaw.{installation}."


def _kill_survivors(installation: str) -> list[str]:
    """Kill every bubblewrap that runs for the installation; what is inside dies with it."""
    marker = f"{_INSTALLATION}={installation}".encode()
    name = f"{_SANDBOX}=".encode()
    killed: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fd = os.pidfd_open(int(process.name))  # so that the number is not another process's in the end
        except OSError:
            continue
        try:
            if (process / "exe").readlink().name.removesuffix(" (deleted)") != "bwrap":
                continue
            environment = (process / "environ").read_bytes().split(b"\0")
            if marker in environment:
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                killed.update(entry.removeprefix(name).decode() for entry in environment if entry.startswith(name))
        except OSError:
            continue  # gone meanwhile, or somebody else's
        finally:
            os.close(fd)
    return sorted(killed)
