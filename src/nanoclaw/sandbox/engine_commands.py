"""The command lines of podman, Docker and Apple's `container`, and the sense of what they print."""

import json
import os
import platform
import re
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from nanoclaw.errors import MountError, SandboxError
from nanoclaw.sandbox.base import Limits, Mount, SandboxSpec, Traits
from nanoclaw.sandbox.limits import within_hard_limit
from nanoclaw.sandbox.mounts import AGENT_UID
from nanoclaw.sandbox.payload import RUNNER_COMMAND, recipe_directory
from nanoclaw.wire import AGENT_HOME, GROUP_DIRECTORY

EngineName = Literal["podman", "docker", "container"]

INSTALLATION_LABEL: Final = "nanoclaw.installation"
FOLDER_LABEL: Final = "nanoclaw.folder"

FIXTURES: Final = (
    *("/", "/proc", "/sys", "/dev", "/tmp", "/run", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"),  # noqa: S108
    *("/etc/passwd", "/etc/group", "/run/.containerenv", "/run/secrets", "/.dockerenv"),
)
"""Where an engine mounts something of its own."""

_OWN_KERNEL = ("runsc", "kata")
_ANOTHER_KERNEL = "our filter of system calls: gVisor has a kernel of its own, and what that permits ends in it"
_NO_FILTER = "a system call filter of our own"
EXCUSED: Final[dict[str, dict[str, str]]] = {
    "container": {
        **dict.fromkeys(("filter", "mounting", "tracing", "kernel", "namespaces"), _NO_FILTER),
        "new-privileges": "a way to forbid new privileges",
        "limits": "a limit on processes",
    },
    "runsc": {
        **dict.fromkeys(("filter", "tracing", "kernel", "devices", "namespaces"), _ANOTHER_KERNEL),
    },
}
"""By engine or runtime: checks of a proof that cannot hold there, and what is lacking."""

_LARGEST_NPROC = 16384  # a ceiling that every kernel and engine accepts; the bound proper is the one on pids
_NOT_STARTED = frozenset({125, 126, 127})  # the engine failed; the command cannot be executed; it is not there


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """How one engine's command line differs from the others'."""

    options: tuple[str, ...]
    """Of `run`, beyond those that all of them have."""
    runtime_is_global: bool
    """Whether `--runtime` stands before `run` rather than after it."""
    remove: tuple[str, ...]
    """Removes the containers that are named after it, running or not."""
    install: str


_OPTIONS = (
    *("--pull", "never", "--ipc", "private", "--hostname", "agent", "--shm-size", "64m"),
    *("--log-driver", "none", "--stop-timeout", "5"),
    *("--security-opt", "no-new-privileges", "--security-opt", f"seccomp={recipe_directory() / 'seccomp.json'}"),
    *("--security-opt", "label=disable"),  # else SELinux would have us relabel the user's own directories
)

_OWN_HOSTS = ("--mount", f"type=bind,src={recipe_directory() / 'hosts'},dst=/etc/hosts,readonly")
"""podman would copy this machine's, and add its address in its network."""

ENGINES: Final[dict[EngineName, Engine]] = {
    "podman": Engine(
        options=(*_OPTIONS, "--read-only-tmpfs=false", "--no-hosts", *_OWN_HOSTS),
        runtime_is_global=True,
        remove=("rm", "--force", "--ignore", "--time", "0"),
        install="apt-get install podman",
    ),
    "docker": Engine(
        # its containers may otherwise listen on ports that are root's
        options=(*_OPTIONS, "--sysctl", "net.ipv4.ip_unprivileged_port_start=1024"),
        runtime_is_global=False,
        remove=("rm", "--force"),
        install="see https://docs.docker.com/engine/install/",
    ),
    "container": Engine(
        options=(),
        runtime_is_global=False,
        remove=("delete", "--force"),
        install="see https://github.com/apple/container",
    ),
}

_CURES: Final = (
    ("cannot connect to the docker daemon", "start it: sudo systemctl start docker"),
    ("permission denied while trying to connect", "sudo usermod -aG docker $USER, and log in again"),
    ("cgroups in hybrid mode not supported", "apt-get install runc, and leave sandbox.runtime empty"),
    ("crun: setrlimit", "apt-get install runc, and leave sandbox.runtime empty"),
    ("rlimit", "raise this machine's hard limits of open files and processes"),
    ("newuidmap", "apt-get install uidmap"),
    ("subuid", "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER"),
    ("default oci runtime", "install the runtime that sandbox.runtime names, or leave it empty"),
    ("found for oci runtime", "install the runtime that sandbox.runtime names, or leave it empty"),
    ("invalid runtime name", "add the runtime to /etc/docker/daemon.json, or leave sandbox.runtime empty"),
    ("no space left", "free some disk space"),
)
"""What an engine's complaint contains, in small letters, and what helps."""

_IMAGE_MISSING = re.compile(r"image not known|no such image|unable to find image", re.IGNORECASE)


def traits(engine: EngineName, runtime: str, *, passes_sockets: bool = True) -> Traits:
    """What a proof has to know of this engine with that OCI runtime."""
    own_kernel = engine == "container" or any(name in Path(runtime).name for name in _OWN_KERNEL)
    excused = EXCUSED.get("runsc" if "runsc" in Path(runtime).name else engine, {})
    return Traits(
        fixtures=FIXTURES,
        excused=excused,
        passes_sockets=passes_sockets,
        shares_kernel=not own_kernel and platform.system() == "Linux",
    )


def run_arguments(engine: EngineName, spec: SandboxSpec, image: str, runtime: str = "") -> list[str]:
    """The whole command line that runs `spec`, with an OCI runtime other than the engine's own if one is named.

    Raises:
        MountError: a path that no command line can carry.
    """
    dialect = ENGINES[engine]
    choice = ("--runtime", runtime) if runtime else ()
    return [
        *((engine, *choice, "run") if dialect.runtime_is_global else (engine, "run", *choice)),
        *("--rm", "--interactive", "--name", spec.name),
        *("--label", f"{INSTALLATION_LABEL}={spec.installation}", "--label", f"{FOLDER_LABEL}={spec.folder}"),
        *dialect.options,
        *("--network", "none", "--read-only", "--cap-drop", "ALL"),
        *user_arguments(engine, platform.system(), os.geteuid(), os.getegid()),
        *limit_arguments(engine, spec.limits),
        *(part for mount in spec.mounts for part in ("--mount", mount_argument(mount))),
        *("--workdir", GROUP_DIRECTORY, "--env", f"HOME={AGENT_HOME}", "--env", "USER=node"),
        *(part for name, value in spec.environment.items() for part in ("--env", f"{name}={value}")),
        *(image, *(spec.command or RUNNER_COMMAND)),
    ]


def user_arguments(engine: EngineName, system: str, uid: int, gid: int) -> list[str]:
    """Whom the agent runs as: what it writes belongs to the host's user, and it is never root."""
    node = ["--user", f"{AGENT_UID}:{AGENT_UID}"]
    if uid == 0 or system != "Linux":
        return node
    if engine == "podman":
        return ["--userns", f"keep-id:uid={AGENT_UID},gid={AGENT_UID}", *node]
    return ["--user", f"{uid}:{gid}"]


def limit_arguments(engine: EngineName, limits: Limits) -> list[str]:
    """What the sandbox may use; no more processors than there are, for Docker refuses that."""
    memory = str(limits.memory_bytes)
    arguments = ["--memory", memory, "--cpus", f"{min(limits.cpus, float(os.cpu_count() or 1)):g}"]
    if engine == "container":
        return [*arguments, "--tmpfs", "/tmp", "--tmpfs", "/run"]  # noqa: S108 - the sandbox's own
    # An --ulimit replaces the engine's whole list, and without CAP_SYS_RESOURCE nobody exceeds a hard limit.
    files = within_hard_limit(limits.open_files, resource.RLIMIT_NOFILE)
    largest = within_hard_limit(limits.file_bytes, resource.RLIMIT_FSIZE)
    processes = within_hard_limit(_LARGEST_NPROC, resource.RLIMIT_NPROC)
    return [
        *(*arguments, "--memory-swap", memory, "--pids-limit", str(limits.pids)),
        *("--ulimit", f"nofile={files}:{files}", "--ulimit", f"nproc={processes}:{processes}", "--ulimit", "core=0:0"),
        *("--ulimit", f"fsize={largest}:{largest}"),
        *("--tmpfs", f"/tmp:rw,exec,nosuid,nodev,size={limits.tmp_bytes},mode=1777"),  # noqa: S108
        *("--tmpfs", "/run:rw,nosuid,nodev,size=16m,mode=0755"),
    ]


def mount_argument(mount: Mount) -> str:
    """The value of `--mount`.

    Raises:
        MountError: the path would break it.
    """
    source = str(mount.source)
    if not source.isprintable() or "," in source or '"' in source:
        raise MountError(f"{source!r} cannot be mounted", "rename it, without commas, quotes and control characters")
    # Whatever is mounted below a read-only directory would stay writable, and so it is left out.
    return f"type=bind,src={source},dst={mount.target}" + (",readonly,bind-nonrecursive" if mount.readonly else "")


def list_arguments(engine: EngineName, installation: str) -> list[str]:
    """The command line that lists an installation's containers, running or not."""
    if engine == "container":
        return [engine, "list", "--all", "--format", "json"]
    return [engine, "ps", "--all", "--filter", f"label={INSTALLATION_LABEL}={installation}", "--format", "{{.Names}}"]


def listed_names(engine: EngineName, installation: str, listing: str) -> list[str]:
    """The names in what `list_arguments` prints."""
    if engine != "container":
        return listing.split()
    entries: list[dict[str, Any]] = json.loads(listing or "[]")
    configurations: list[dict[str, Any]] = [entry["configuration"] for entry in entries]
    return [each["id"] for each in configurations if each.get("labels", {}).get(INSTALLATION_LABEL) == installation]


def explain(engine: EngineName, image: str, status: int, stderr: str) -> SandboxError | None:
    """Why the container never started; None when it did."""
    if status not in _NOT_STARTED:
        return None
    if _IMAGE_MISSING.search(stderr):
        return SandboxError(f"{engine} does not have the image {image}", "build it with `nanoclaw image build`")
    return SandboxError(f"{engine}: {complaint(stderr) or status}", cure(stderr), retryable=True)


def complaint(stderr: str) -> str:
    """The line of stderr that says what is wrong, in 500 characters at most."""
    lines = [line.strip()[:500] for line in stderr.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "")


def cure(stderr: str) -> str:
    """What helps against the engine's complaint, if that is known."""
    complaint = stderr.lower()
    return next((cure for sign, cure in _CURES if sign in complaint), "")


def missing_limits(stderr: str) -> tuple[str, ...]:
    """The limits that the engine warns it cannot set, in its words."""
    return tuple(dict.fromkeys(line.strip() for line in stderr.splitlines() if "limit" in line.lower()))
