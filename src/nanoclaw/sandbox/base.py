"""The seam to whatever a run happens in."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nanoclaw.carriage import Pipe
from nanoclaw.model import Folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """One host directory inside the sandbox. `source` is resolved and checked (see `mounts`)."""

    source: Path
    target: str
    readonly: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one sandbox may use."""

    memory_bytes: int = 2 << 30
    cpus: float = 2.0
    pids: int = 512
    tmp_bytes: int = 512 << 20
    open_files: int = 8192
    file_bytes: int = 5 << 30
    """Of one file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxSpec:
    """A sandbox to be started: pure data, the same for every engine."""

    name: str
    """Unique for ever: `nanoclaw-<installation>-<folder>-<run>-<attempt>-<random>`."""
    installation: str
    """Identity of this installation; only what carries it is ever swept."""
    folder: Folder
    mounts: tuple[Mount, ...]
    """In mount order: a parent before what lies inside it."""
    environment: dict[str, str] = field(default_factory=dict[str, str])
    """The whole environment; nothing of the host's leaks in."""
    command: tuple[str, ...] = ()
    """Empty: the runner."""
    limits: Limits = field(default_factory=Limits)
    canary: str = ""
    """A random word in the environment of the engine's own command, which must not be found inside."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What a proof has to know of a kind of sandbox."""

    fixtures: tuple[str, ...]
    """Where it mounts something besides the spec's mounts."""
    excused: Mapping[str, str] = field(default_factory=dict[str, str])
    """Checks of a proof that cannot hold in it, and what it lacks, in words."""
    passes_sockets: bool = True
    """Whether the host's sockets can be mounted into it; else there is a `way_out`."""
    shares_kernel: bool = True
    """Whether namespaces, devices and inodes of the host mean the same inside."""
    limits_groups: bool = True
    """Whether it limits memory and processes by control groups."""


class SandboxProcess(Protocol):
    """A running sandbox, seen through its standard streams."""

    async def send_line(self, line: bytes) -> None:
        """Write one line to stdin, which stays open. Raises `SandboxError` when the sandbox is gone."""
        ...

    def lines(self, limit: int) -> AsyncIterator[bytes]:
        """Stdout line by line, without line ends, to its end; a line longer than `limit` raises `WireError`."""
        ...

    def stderr_tail(self) -> str:
        """The last 64 KiB of stderr so far."""
        ...

    async def close_stdin(self) -> None:
        """Tell the runner to stop: it ends the CLI and then itself."""
        ...

    async def wait(self) -> int:
        """Exit status, once the sandbox is gone. 137 is a kill or too little memory."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """Whether a sandbox can be used here, found by starting one."""

    ok: bool
    reason: str = ""
    """What is wrong, when not ok; else a warning for the owner."""
    hint: str = ""
    """What to do about it."""
    lacks: tuple[str, ...] = ()
    """What this kind of sandbox cannot do, for `status` and `doctor`."""


class Sandbox(Protocol):
    """podman, docker, Apple `container` or bubblewrap."""

    name: str

    def traits(self) -> Traits:
        """What is known of it without starting anything; complete once it was checked and built."""
        ...

    async def check(self) -> Health:
        """Start something harmless with the real flags. Never raises."""
        ...

    def start(self, spec: SandboxSpec) -> AbstractAsyncContextManager[SandboxProcess]:
        """Run `spec`; leaving the context kills and removes it, shielded and bounded; already gone is success.

        Raises:
            SandboxError: on entering, or from `lines` and `send_line`, when it could not be started.
        """
        ...

    def way_out(self, spec: SandboxSpec) -> AbstractAsyncContextManager[Pipe | None]:
        """The pipe to `nanoclaw-carrier`, started inside the sandbox of `spec`, for as long as the context lasts;
        None where sockets pass.

        Raises:
            SandboxError: it cannot be started.
        """
        ...

    async def sweep(self, installation: str) -> list[str]:
        """Kill and remove every sandbox of this installation; answers their names. Others are never touched."""
        ...

    def build(self, base: str | None = None, *, browser: bool = True) -> AsyncIterator[str]:
        """Make ready what `start` needs (image or toolkit); yields progress, a line each. Nothing to do: no lines.

        Args:
            base: the image to build on, instead of the one that this machine can get.
            browser: with Chromium and agent-browser, where the sandbox has programs of its own.
        """
        ...

    async def is_built(self) -> bool:
        """Whether what `start` needs is there, in the version of this program."""
        ...
