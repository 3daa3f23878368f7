"""Trying, before the agent begins, what must not be possible in this sandbox. The host judges what comes of it.

Every check tries the real thing, in a form that does no harm where it succeeds, and yields what succeeded. What cannot
be tried has not been proven, and says so.
"""

import ctypes
import os
import resource
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EACCES, ENOSYS, EPERM
from typing import Final

from nanoclaw.wire import AGENT_HOME, GATEWAY_DIRECTORY, IPC_DIRECTORY, PROTOCOL, Proof, ProveRequest

_Check = Callable[[ProveRequest], Iterator[str]]

_REFUSALS: Final = frozenset((EPERM, EACCES, ENOSYS))
_NUMBERS: Final = {  # x86-64, aarch64
    "add_key": (248, 217), "bpf": (321, 280), "chroot": (161, 51), "clone": (56, 220), "clone3": (435, 435),
    "fsopen": (430, 430), "init_module": (175, 105), "io_uring_setup": (425, 425), "kexec_load": (246, 104),
    "keyctl": (250, 219), "mount": (165, 40), "open_by_handle_at": (304, 265), "open_tree": (428, 428),
    "perf_event_open": (298, 241), "pivot_root": (155, 41), "process_vm_readv": (310, 270), "ptrace": (101, 117),
    "setns": (308, 268), "umount2": (166, 39), "unshare": (272, 97), "userfaultfd": (323, 282),
}  # fmt: skip
_MACHINES: Final = {"x86_64": 0, "aarch64": 1}

_NEW_USER: Final = 0x10000000
_NEW_USER_SHARED_FILES: Final = _NEW_USER | 0x200
"""No kernel makes such a process: it says EINVAL, unless the call was refused before."""
_CLONE_TREE: Final = 1
_HERE: Final = -100
_DETACH: Final = 2
_PEEK: Final = 2
_GET_DUMPABLE: Final = 3
_SET_DUMPABLE: Final = 4
_GET_NO_NEW_PRIVILEGES: Final = 39

_NEIGHBOURS: Final = (
    *("169.254.169.254", "1.1.1.1", "8.8.8.8", "10.0.0.1", "10.88.0.1", "172.17.0.1", "192.168.0.1", "224.0.0.1"),
    *("fd00:ec2::254", "2606:4700:4700::1111", "fe80::1"),
)
"""Cloud metadata, name servers, routers, engines' bridges. A datagram socket is connected, which sends nothing."""
_ENGINES_PLACES: Final = (
    *("/run/docker.sock", "/var/run/docker.sock", "/run/podman", "/run/containerd", "/run/crio", "/run/user"),
    *("/var/lib/docker", "/var/lib/containers", "/run/dbus", "/run/systemd"),
)
_DEVICES: Final = (
    *("console", "core", "fd", "full", "init", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin"),
    *("stdout", "tty", "urandom", "zero"),
)
_PROTECTED_FILES: Final = (
    *("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory"),
    *("/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity"),
    *("/sys/kernel/uevent_helper", "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/fs/cgroup/cgroup.procs"),
    *("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/pids/cgroup.procs"),
)
_MASKED_FILES: Final = (
    *("/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/proc/kmsg"),
    *("/proc/kpageflags", "/etc/shadow"),
)
_MASKED_DIRECTORIES: Final = ("/proc/acpi", "/proc/scsi", "/proc/asound", "/sys/firmware")
_READ_ONLY: Final = (
    *("/", "/usr", "/etc", "/opt", "/opt/nanoclaw", "/opt/agent", "/var", "/workspace", "/workspace/extra", "/run"),
    *("/dev", "/sys", AGENT_HOME, IPC_DIRECTORY, GATEWAY_DIRECTORY),
)
_IMAGES_OWN: Final = (
    *("/opt/nanoclaw/bin/nanoclaw-runner", "/opt/nanoclaw/lib/nanoclaw_runner/main.py", "/opt/agent/bin/codex"),
    *("/opt/agent/bin/claude", "/etc/passwd", "/etc/hosts", "/etc/resolv.conf", "/usr/bin/env", "/bin/sh"),
)
_KERNELS_MOUNTS: Final = ("/proc/", "/sys/", "/dev/")
_GROUPS_FILES: Final = {
    "memory": ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    "pids": ("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"),
}
"""Where the limits of the sandbox's own control group are shown, if at all."""


def prove(request: ProveRequest) -> Proof:
    """Try everything once; some milliseconds in all."""
    started = time.perf_counter()
    checks = {name: _outcome(check, request) for name, check in CHECKS.items()}
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    return {"type": "proof", "protocol": PROTOCOL, "checks": checks, "milliseconds": milliseconds}


def _outcome(check: _Check, request: ProveRequest) -> str:
    """Empty when nothing succeeded."""
    try:
        return "; ".join(check(request))[:500]
    except Exception as error:  # noqa: BLE001  # whatever stands in the way of a check, the check has not been made
        return f"could not be tried: {type(error).__name__}: {error}"[:500]


# who the agent is


def _user(_: ProveRequest) -> Iterator[str]:
    if 0 in (*os.getresuid(), *os.getresgid(), *os.getgroups()):
        yield "it is root"
    with suppress(OSError):
        os.setuid(0)
        yield "it became root"


def _capabilities(_: ProveRequest) -> Iterator[str]:
    status = _status()
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd"):
        if int(status[name], 16):
            yield f"{name} is {status[name]}"
    if int(status.get("CapAmb", "0"), 16):  # gVisor has none to show
        yield "CapAmb is not empty"


def _new_privileges(_: ProveRequest) -> Iterator[str]:
    if _libc.prctl(_GET_NO_NEW_PRIVILEGES, 0, 0, 0, 0) != 1:
        yield "a setuid program would give it privileges"


def _filter(_: ProveRequest) -> Iterator[str]:
    if _status()["Seccomp"] != "2":
        yield "no filter is in force"


# what it may ask of the kernel


def _namespaces(request: ProveRequest) -> Iterator[str]:
    for name, hosts in request["namespaces"].items():
        if os.readlink(f"/proc/self/ns/{name}") == hosts:  # noqa: PTH115  # pathlib is a slow import
            yield f"it is in the host's {name} namespace"
    yield from _permitted("clone", _NEW_USER_SHARED_FILES)
    yield from _permitted("clone3", None, 0)
    fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    yield from _permitted("setns", fd, 0)
    os.close(fd)
    yield from _permitted("unshare", _NEW_USER)


def _mounting(_: ProveRequest) -> Iterator[str]:
    for mounted in _permitted("mount", b"none", b"/tmp", b"tmpfs", 0, None):
        yield mounted
        _call("umount2", b"/tmp", _DETACH)
    yield from _permitted("pivot_root", b"/", b"/")
    yield from _permitted("chroot", b"/")
    yield from _permitted("fsopen", b"tmpfs", 0)
    yield from _permitted("open_tree", _HERE, b"/", _CLONE_TREE)


def _tracing(_: ProveRequest) -> Iterator[str]:
    yield from _permitted("ptrace", _PEEK, 1, 0, 0)
    yield from _permitted("process_vm_readv", 1, None, 0, None, 0, 0)


def _runner(_: ProveRequest) -> Iterator[str]:
    """Close this process to the agent, which has the same uid: its memory, and the pipe on which it reports."""
    _libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    if _libc.prctl(_GET_DUMPABLE, 0, 0, 0, 0):
        yield "the agent can open the runner's memory"


def _kernel(_: ProveRequest) -> Iterator[str]:
    yield from _permitted("bpf", 0, None, 0)
    yield from _permitted("perf_event_open", None, 0, -1, -1, 0)
    yield from _permitted("userfaultfd", 0)
    yield from _permitted("io_uring_setup", 1, None)
    yield from _permitted("keyctl", 0, -3, 0)
    yield from _permitted("add_key", b"user", b"nanoclaw", b"x", 1, -2)
    yield from _permitted("init_module", None, 0, b"")
    yield from _permitted("kexec_load", 0, 0, None, 0)
    yield from _permitted("open_by_handle_at", _HERE, None, 0)


def _settings(_: ProveRequest) -> Iterator[str]:
    for path in _PROTECTED_FILES:
        with suppress(OSError):
            os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
            yield f"{path} can be written"
    for path in _MASKED_FILES:
        with suppress(OSError):
            if _read(path, 1):
                yield f"{path} can be read"
    for path in _MASKED_DIRECTORIES:
        with suppress(OSError):
            if os.listdir(path):  # noqa: PTH208
                yield f"{path} can be read"


def _devices(_: ProveRequest) -> Iterator[str]:
    for name in set(os.listdir("/dev")).difference(_DEVICES):  # noqa: PTH208
        yield f"/dev/{name} is there"
    place = f"/tmp/.nanoclaw-proof-{os.getpid()}"  # noqa: S108
    with suppress(OSError):
        os.mknod(place, stat.S_IFCHR | 0o600, os.makedev(1, 1))
        yield "a device was made"
        os.unlink(place)  # noqa: PTH108


# what it can reach


def _network(_: ProveRequest) -> Iterator[str]:
    for interface in _text("/proc/net/dev").splitlines()[2:]:
        if (name := interface.partition(":")[0].strip()) != "lo":
            yield f"there is an interface {name}"
    if _text("/proc/net/unix").count("\n") > 1:
        yield "there are unix sockets of others"
    for address in (*_NEIGHBOURS, *_name_servers()):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as client:
            client.connect((address, 53))
            yield f"there is a way to {address}"
    for name, family, kind in (("packet", 17, socket.SOCK_RAW), ("vsock", 40, socket.SOCK_STREAM)):
        with suppress(OSError):
            socket.socket(family, kind).close()
            yield f"a {name} socket can be made"


def _name_servers() -> list[str]:
    try:
        lines = _text("/etc/resolv.conf").splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    # its own loopback leads nowhere
    return [each[1] for each in words if each[:1] == ["nameserver"] and not each[1].startswith(("127.", "::1"))]


def _host_files(request: ProveRequest) -> Iterator[str]:
    for path in (*request["forbidden"], *_ENGINES_PLACES):
        with suppress(OSError):
            os.lstat(path)
            yield f"{path} is there"


def _descriptors(_: ProveRequest) -> Iterator[str]:
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with suppress(FileNotFoundError):  # the listing's own
            target = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
            if target.startswith("/") and not target.startswith(("/dev/", "/proc/")):
                yield f"descriptor {name} is {target}"


def _mounts(request: ProveRequest) -> Iterator[str]:
    lines = [line.split() for line in _text("/proc/self/mountinfo").splitlines()]
    found = {words[4].replace("\\040", " "): words[5].split(",") for words in lines}
    wanted = {mount["target"]: mount for mount in request["mounts"]}
    for target in found.keys() - wanted.keys() - set(request["fixtures"]):
        if not target.startswith(_KERNELS_MOUNTS):
            yield f"{target} is mounted"
    for target, mount in wanted.items():
        if target not in found:
            yield f"{target} is not mounted"
        elif mount["readonly"] and "ro" not in found[target]:
            yield f"{target} is mounted writable"
        status = os.stat(target)  # noqa: PTH116
        if mount["identity"] not in (None, [status.st_dev, status.st_ino]):
            yield f"{target} is another directory than the host made ready"


def _read_only(request: ProveRequest) -> Iterator[str]:
    kept = [mount["target"] for mount in request["mounts"] if mount["readonly"]]
    for directory in dict.fromkeys((*_READ_ONLY, *kept)):
        path = f"{directory}/.nanoclaw-proof-{os.getpid()}"
        with suppress(OSError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            os.unlink(path)  # noqa: PTH108
            yield f"{directory} can be written"
    for path in _IMAGES_OWN:
        with suppress(OSError):
            os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
            yield f"{path} can be written"


def _processes(_: ProveRequest) -> Iterator[str]:
    ancestors = {"1"}
    process = str(os.getpid())
    while process not in ("0", "1"):
        ancestors.add(process)
        process = _status(process)["PPid"]
    for other in _visible_processes() - ancestors:
        yield f"process {other} is visible"


def _secrets(request: ProveRequest) -> Iterator[str]:
    if any(token in value for token in request["tokens"] for value in os.environ.values()):
        yield "a planted secret is in the runner's environment"
    for process in _visible_processes():
        for name in ("environ", "cmdline"):
            with suppress(OSError):
                content = _read(f"/proc/{process}/{name}", 1 << 20)
                if any(token.encode() in content for token in request["tokens"]):
                    yield f"a planted secret is in the {name} of process {process}"


# what it may use up


def _limits(request: ProveRequest) -> Iterator[str]:
    claims = request["limits"]
    for name, most in claims["rlimits"].items():
        hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1]
        if hard == resource.RLIM_INFINITY or hard > most:
            yield f"{name} is {'unlimited' if hard == resource.RLIM_INFINITY else hard}, and was to be {most}"
    for name, most in claims["groups"].items():
        for path in _GROUPS_FILES[name]:
            with suppress(FileNotFoundError):
                limit = _text(path).strip()
                if limit == "max" or int(limit) > most:
                    yield f"{name} is {limit}, and was to be {most}"
    space = os.statvfs("/tmp")  # noqa: S108
    if claims["tmp"] is not None and (size := space.f_blocks * space.f_frsize) > claims["tmp"] + space.f_frsize:
        yield f"the temporary directory holds {size} bytes, and was to hold {claims['tmp']}"


CHECKS: Final[dict[str, _Check]] = {
    "user": _user,
    "capabilities": _capabilities,
    "new-privileges": _new_privileges,
    "filter": _filter,
    "mounting": _mounting,
    "tracing": _tracing,
    "runner": _runner,
    "kernel": _kernel,
    "settings": _settings,
    "devices": _devices,
    "network": _network,
    "host-files": _host_files,
    "descriptors": _descriptors,
    "mounts": _mounts,
    "read-only": _read_only,
    "processes": _processes,
    "secrets": _secrets,
    "limits": _limits,
    "namespaces": _namespaces,  # the last: a new user namespace would hide who we are
}
"""As in `wire.CHECKS`."""


def _permitted(name: str, *arguments: object) -> Iterator[str]:
    """Say so when a system call gets further than to a refusal."""
    answer = _call(name, *arguments)
    if answer >= 0:
        yield f"{name} succeeded"
    elif ctypes.get_errno() not in _REFUSALS:
        yield f"{name} is not refused ({os.strerror(ctypes.get_errno())})"


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _call(name: str, *arguments: object) -> int:
    number = _NUMBERS[name][_MACHINES[os.uname().machine]]
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _libc.syscall(ctypes.c_long(number), *wide)


def _visible_processes() -> set[str]:
    return {name for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208


def _status(process: str = "self") -> dict[str, str]:
    pairs = (line.partition(":") for line in _text(f"/proc/{process}/status").splitlines())
    return {name: value.strip() for name, _, value in pairs}


def _text(path: str) -> str:
    return _read(path, 1 << 22).decode("utf-8", "replace")


def _read(path: str, limit: int) -> bytes:
    """At most `limit` bytes, without waiting for any."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        content = b""
        while len(content) < limit and (more := os.read(fd, limit - len(content))):
            content += more
        return content
    finally:
        os.close(fd)
