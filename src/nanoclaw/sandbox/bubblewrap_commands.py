"""The command line of bubblewrap, and the sense of what it prints."""

import resource
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from nanoclaw.errors import SandboxError
from nanoclaw.sandbox.base import Limits, Mount, SandboxSpec
from nanoclaw.sandbox.limits import within_hard_limit
from nanoclaw.sandbox.mounts import AGENT_UID
from nanoclaw.sandbox.process import last_line
from nanoclaw.wire import AGENT_HOME, GROUP_DIRECTORY

FILES: Final = {
    "/etc/passwd": f"root:x:0:0:root:/root:/bin/sh\nnode:x:{AGENT_UID}:{AGENT_UID}:node:{AGENT_HOME}:/bin/sh\n",
    "/etc/group": f"root:x:0:\nnode:x:{AGENT_UID}:\n",
    "/etc/hosts": "127.0.0.1 localhost agent\n::1 localhost\n",
}
"""What is inside instead of this machine's own."""

_FROM_ETC = (
    *("/etc/alternatives", "/etc/ca-certificates", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"),
    *("/etc/localtime", "/etc/nsswitch.conf", "/etc/pki/ca-trust", "/etc/pki/tls/certs", "/etc/ssl/certs"),
    "/etc/ssl/openssl.cnf",
)
_TOP_LEVEL = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug"),
    *("/proc/scsi", "/proc/timer_list"),
)
"""What tells of the machine, as far as its kernel has it; engines hide the same."""
_SMALL_TMPFS = 16 << 20
_SHARED_MEMORY = 64 << 20

_CURES: Final = (
    ("unknown option", "bubblewrap 0.7 or newer is needed"),
    ("uid map", "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or install podman"),
    ("rtm_newaddr", "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or install podman"),
    ("new namespace", "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1), or install podman"),
)
"""What the complaint contains, in small letters, and what helps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """Programs of this machine that a start needs, by absolute path."""

    bwrap: str
    prlimit: str
    setpriv: str
    """Used only where the host is root."""


def bubblewrap_arguments(
    spec: SandboxSpec,
    tools: Tools,
    programs: Sequence[Mount],
    command: Sequence[str],
    *,
    as_root: bool,
    seccomp_fd: int,
    file_fds: dict[str, int],
) -> list[str]:
    """The whole command line that runs `spec`; its environment is that of bubblewrap itself.

    Args:
        programs: what is mounted besides `/usr`.
        command: what runs inside.
        as_root: whether bubblewrap will run as root.
        seccomp_fd: where it reads the filter.
        file_fds: where it reads each of `FILES`.
    """
    return [
        tools.bwrap,
        *_namespaces(as_root=as_root),
        *_root_file_system(spec.limits),
        *(part for path, fd in file_fds.items() for part in ("--perms", "0644", "--ro-bind-data", str(fd), path)),
        *_binds((*programs, *spec.mounts)),
        *_each("--remount-ro", ("/dev", "/run", "/")),
        *("--chdir", GROUP_DIRECTORY, "--seccomp", str(seccomp_fd), "--"),
        *_resource_limits(tools, spec.limits, as_root=as_root),
        *(_drop_root(tools) if as_root else ()),
        *command,
    ]


def _namespaces(*, as_root: bool) -> list[str]:
    common = ["--unshare-ipc", "--unshare-uts", "--unshare-net", "--unshare-cgroup-try"]
    common += ["--die-with-parent", "--new-session", "--hostname", "agent", "--cap-drop", "ALL"]
    if as_root:
        # for setpriv, which gives them up; the last for bubblewrap, which has to enter the agent's own directory
        needed = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_DAC_READ_SEARCH")
        return ["--unshare-pid", *common, *_each("--cap-add", needed)]
    # bubblewrap's own process 1 would have the agent's user, and what it holds would be open to the agent
    return ["--unshare-pid", "--as-pid-1", *common, "--unshare-user", "--uid", str(AGENT_UID), "--gid", str(AGENT_UID)]


def _root_file_system(limits: Limits) -> list[str]:
    arguments = ["--perms", "0755", "--size", str(_SMALL_TMPFS), "--tmpfs", "/", "--ro-bind", "/usr", "/usr"]
    arguments += _each("--dir", ("/etc/pki/tls", "/etc/ssl", AGENT_HOME, GROUP_DIRECTORY))
    for name in _TOP_LEVEL:
        path = Path("/", name)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    for name in _FROM_ETC:
        arguments += ["--ro-bind-try", name, name]
    return [
        *(*arguments, "--proc", "/proc", *_masks(), "--dev", "/dev"),
        *("--perms", "1777", "--size", str(_SHARED_MEMORY), "--tmpfs", "/dev/shm"),  # noqa: S108
        *("--perms", "1777", "--size", str(limits.tmp_bytes), "--tmpfs", "/tmp"),  # noqa: S108
        *("--perms", "0755", "--size", str(_SMALL_TMPFS), "--tmpfs", "/run"),
    ]


def _masks() -> list[str]:
    """Empty directories, and files that cannot be opened."""
    present = [path for path in map(Path, _MASKED) if path.exists()]
    directories = [str(path) for path in present if path.is_dir()]
    files = [part for path in present if not path.is_dir() for part in ("--ro-bind", "/dev/null", str(path))]
    return [*_each("--tmpfs", directories), *_each("--remount-ro", directories), *files]


def fixtures() -> tuple[str, ...]:
    """Where it mounts something besides the programs and the spec's mounts."""
    top_level = tuple(f"/{name}" for name in _TOP_LEVEL)
    return ("/", "/usr", "/proc", "/dev", "/tmp", "/run", *top_level, *_FROM_ETC, *FILES)  # noqa: S108


def _binds(mounts: Sequence[Mount]) -> list[str]:
    """The mounts; left to itself, bubblewrap would make the way to each of them for root alone."""
    ways = dict.fromkeys(str(PurePosixPath(mount.target).parent) for mount in mounts)
    binds = [("--ro-bind" if mount.readonly else "--bind", str(mount.source), mount.target) for mount in mounts]
    return [*_each("--dir", ways), *(part for bind in binds for part in bind)]


def _each(option: str, values: Iterable[str]) -> list[str]:
    return [part for value in values for part in (option, value)]


def _resource_limits(tools: Tools, limits: Limits, *, as_root: bool) -> list[str]:
    # The kernel counts processes for each user namespace, but without one all sandboxes of uid 1000 share the number.
    processes = within_hard_limit(limits.pids * (8 if as_root else 1), resource.RLIMIT_NPROC)
    files = within_hard_limit(limits.open_files, resource.RLIMIT_NOFILE)
    largest = within_hard_limit(limits.file_bytes, resource.RLIMIT_FSIZE)
    counts = (f"--nproc={processes}:{processes}", f"--nofile={files}:{files}", f"--fsize={largest}:{largest}")
    return [tools.prlimit, *counts, "--core=0:0", "--"]


def _drop_root(tools: Tools) -> list[str]:
    capabilities = ("--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all")
    user = (f"--reuid={AGENT_UID}", f"--regid={AGENT_UID}", "--clear-groups")
    return [tools.setpriv, *user, *capabilities, "--no-new-privs", "--"]


def explain(status: int, stderr: str) -> SandboxError | None:
    """Why the sandbox never started; None when it did."""
    complaint = last_line(stderr)
    if not status or not complaint.startswith(("bwrap:", "setpriv:", "prlimit:", "limits:")):
        return None
    lower = complaint.lower()
    cure = next((cure for sign, cure in _CURES if sign in lower), "")
    return SandboxError(f"bubblewrap: {complaint.removeprefix('bwrap: ')}", cure, retryable=True)
