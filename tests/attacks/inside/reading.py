"""Seeing what is not the group's: files of the host, of other groups, secrets, the kernel's own."""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from .attempt import Lab, attempt
from .processes import runner, runners, visible

_TOKEN = re.compile(rb"cana" rb"ry-[a-z]+-[0-9a-f]{16}")
_MOST = 4 << 20

HIDDEN = {
    "env": "the host's .env",
    "database": "the host's database",
    "groups file": "the list of groups",
    "settings": "the host's settings",
    "log": "the host's log",
    "other run log": "another group's run log",
    "credential": "a credential that the host keeps",
    "other file": "another group's file",
    "other login": "another group's Codex login",
    "other session": "another group's Claude session",
    "other mailbox": "another group's mailbox",
    "other media": "what people sent to another group",
    "own run log": "the log of this very group's runs",
    "outside": "a file beside the host's home",
}
"""What `lab["hidden"]` has, and what it is."""


def read(path: str) -> str:
    """`read N bytes`, or the error."""
    with open(path, "rb") as file:
        return f"read {len(file.read(100))} bytes"


def search(path: str) -> str:
    """Whether one of the planted tokens is in a file."""
    with open(path, "rb") as file:
        return "a planted token" if _TOKEN.search(file.read(_MOST)) else "no token"


def _hidden(key: str, title: str) -> None:
    @attempt("reading", f"{title}, by its path", "ENOENT", "EACCES")
    def _(lab: Lab) -> str:
        return read(lab["hidden"][key])


for _key, _title in HIDDEN.items():
    _hidden(_key, _title)


def _around(way: str, title: str) -> None:
    @attempt("reading", f"a file of the host through {title}", "ENOENT", "EACCES", "EPERM")
    def _(lab: Lab) -> str:
        return read(way.format(runner=runner(), parent=os.getppid()) + lab["hidden"]["outside"])


for _way, _title in {
    "/proc/1/root": "the root of process 1",
    "/proc/{runner}/root": "the runner's root",
    "/proc/{parent}/cwd/../../../../../..": "the parent's working directory",
    "/workspace/group/../../../..": "dots above the group's directory",
    "/proc/self/root/../..": "dots above the root",
    "/workspace/ipc/../../..": "dots above the mailbox",
    "/dev/fd/../../../..": "dots above the descriptors",
}.items():
    _around(_way, _title)


@attempt("reading", "the host's users and passwords in /etc/shadow", "ENOENT", "EACCES")
def _(_: Lab) -> str:
    return read("/etc/shadow")


@attempt("reading", "other groups' directories beside its own", "only its own")
def _(_: Lab) -> str:
    found = set(os.listdir("/workspace"))
    return "only its own" if found <= {"group", "global", "ipc", "media", "extra"} else f"saw {sorted(found)}"


@attempt("reading", "other groups' gateway sockets beside its own", "only its own", "EACCES", "ENOENT")
def _(_: Lab) -> str:
    found = os.listdir("/run/nanoclaw")
    return "only its own" if found == ["gateway.sock"] else f"saw {found}"


@attempt("reading", "which other groups there are", "EACCES", "ENOENT", "none")
def _(lab: Lab) -> str:
    text = Path("/workspace/ipc/available_groups.json").read_text(encoding="utf-8")
    return "saw another group" if lab["other jid"] in text else "none"


@attempt("reading", "the tasks of other groups", "none")
def _(lab: Lab) -> str:
    text = Path("/workspace/ipc/current_tasks.json").read_text(encoding="utf-8")
    return "saw another group's task" if lab["other task"] in text or "canary" in text else "none"


@attempt("reading", "processes of the host", "none")
def _(lab: Lab) -> str:
    seen = [line for line in visible().values() if lab["host process"] in line]
    return f"saw {seen[0][:60]}" if seen else "none"


@attempt("reading", "processes of other sandboxes", "none")
def _(_: Lab) -> str:
    return "none" if len(runners()) == 1 else f"saw {len(runners())} runners"


def _secretless(path: str, title: str) -> None:
    @attempt("secrets", f"a planted token in {title}", "no token", "EACCES", "EPERM", "ENOENT")
    def _(_: Lab) -> str:
        return search(path.format(runner=runner(), parent=os.getppid()))


for _place, _name in {
    "/proc/1/environ": "the environment of process 1",
    "/proc/{runner}/environ": "the runner's environment",
    "/proc/{parent}/environ": "the environment of its parent",
    "/proc/1/cmdline": "the command line of process 1",
    "/proc/self/mountinfo": "the list of mounts",
    "/proc/cmdline": "the kernel's command line",
    "/home/node/.codex/auth.json": "its own Codex login",
    "/home/node/.codex/config.toml": "its own Codex settings",
}.items():
    _secretless(_place, _name)


@attempt("secrets", "a planted token in the environment or command line of any process", "no token")
def _(_: Lab) -> str:
    for pid in visible():
        for name in ("environ", "cmdline"):
            try:
                if search(f"/proc/{pid}/{name}") != "no token":
                    return f"a planted token in /proc/{pid}/{name}"
            except OSError:
                continue
    return "no token"


def _files(top: str) -> Iterator[str]:
    for directory, _, names in os.walk(top):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path


@attempt("secrets", "a planted token in any file that can be read", "no token")
def _(_: Lab) -> str:
    for top in ("/workspace", "/home", "/run", "/tmp", "/etc", "/var", "/opt/nanoclaw", "/dev/shm", "/root", "/srv"):
        for path in _files(top):
            try:
                if search(path) != "no token":
                    return f"a planted token in {path}"
            except OSError:
                continue
    return "no token"


def _memory(pid: int) -> Iterator[bytes]:
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
        ranges = [line.split()[0].split("-") for line in maps if " rw" in line]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for first, last in ranges:
            begin, end = int(first, 16), int(last, 16)
            for place in range(begin, min(end, begin + (64 << 20)), _MOST):
                try:
                    memory.seek(place)
                    yield memory.read(min(_MOST, end - place))
                except (OSError, OverflowError):
                    break


def _scan(pid: int) -> str:
    return "a planted token" if any(_TOKEN.search(block) for block in _memory(pid)) else "no token"


@attempt("secrets", "a planted token in the runner's memory", "EACCES", "EPERM", "no token")
def _(_: Lab) -> str:
    return _scan(runner())


@attempt("secrets", "a planted token in the memory of the provider's CLI", "EACCES", "EPERM", "no token")
def _(_: Lab) -> str:
    found = [_scan(pid) for pid, line in visible().items() if "codex exec" in line and "inside" not in line]
    return "a planted token" if "a planted token" in found else "no token" if found else "broken: there is no CLI"


def _kernels(path: str, *also: str) -> None:
    @attempt("reading", path, "ENOENT", "EACCES", "EPERM", *also)
    def _(_: Lab) -> str:
        return read(path)


for _path in (
    *("/proc/kcore", "/proc/kmsg", "/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/dev/vda", "/dev/sda"),
    *("/dev/nvme0n1", "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/vhost-vsock", "/dev/loop-control"),
    "/sys/firmware/dmi/tables/DMI",
    *("/var/lib/containers/storage", "/var/lib/docker", "/root/.bashrc", "/etc/ssh/ssh_host_rsa_key"),
):
    _kernels(_path)
_kernels("/proc/keys", "read 0 bytes")
_kernels("/proc/timer_list", "read 0 bytes")
_kernels("/proc/latency_stats", "read 0 bytes")
_kernels("/proc/scsi/scsi", "read 0 bytes")


for _directory in ("/sys/kernel/debug", "/sys/kernel/security", "/sys/kernel/tracing", "/proc/acpi", "/proc/scsi"):

    @attempt("reading", f"what is in {_directory}", "ENOENT", "EACCES", "EPERM", "nothing")
    def _(_: Lab, directory: str = _directory) -> str:
        found = os.listdir(directory)
        return f"saw {found[:3]}" if found else "nothing"


@attempt("reading", "addresses of the kernel in /proc/kallsyms", "EACCES", "EPERM", "ENOENT", "hidden")
def _(_: Lab) -> str:
    with open("/proc/kallsyms", encoding="ascii", errors="replace") as file:
        return "hidden" if set(file.readline().split()[0]) == {"0"} else "saw an address"


def _sockets(path: str, title: str) -> None:
    @attempt("reading", f"{title} at {path}", "ENOENT", "EACCES", "ECONNREFUSED", "EPERM")
    def _(_: Lab) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2.0)
            client.connect(path)
        return "connected"


for _socket, _what in {
    "/var/run/docker.sock": "Docker",
    "/run/podman/podman.sock": "podman",
    "/run/containerd/containerd.sock": "containerd",
    "/run/dbus/system_bus_socket": "the system's message bus",
    "/run/systemd/private": "systemd",
    "/run/systemd/journal/socket": "the journal",
}.items():
    _sockets(_socket, _what)


@attempt("reading", "the host's control socket", "ENOENT", "EACCES")
def _(lab: Lab) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(lab["control socket"])
    return "connected"


@attempt("reading", "the gateway socket of another group, by its path", "ENOENT", "EACCES")
def _(lab: Lab) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(lab["other gateway"])
    return "connected"
