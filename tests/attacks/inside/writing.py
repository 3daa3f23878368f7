"""Changing what is not the agent's: the image, the kernel's knobs, what the host puts into the mailbox."""

import os
from pathlib import Path

from .attempt import Lab, attempt

_READ_ONLY = ("EROFS", "EACCES", "EPERM", "ENOENT", "ENOTDIR")


def write(path: str, text: str = "attack") -> str:
    """Write into a file that is there, or make one."""
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    return "it was written"


def _write(category: str, path: str, title: str = "") -> None:
    @attempt(category, title or f"write {path}", *_READ_ONLY)
    def _(_: Lab) -> str:
        return write(path)


for _path in (
    *("/attack", "/usr/bin/attack", "/usr/local/bin/codex", "/etc/passwd", "/etc/hosts", "/etc/ld.so.preload"),
    *("/opt/nanoclaw/bin/nanoclaw-runner", "/opt/nanoclaw/lib/nanoclaw_runner/main.py", "/opt/agent/bin/attack"),
    *("/home/node/.bashrc", "/home/attack", "/run/attack", "/run/nanoclaw/attack", "/workspace/attack", "/bin/sh"),
    *("/var/attack", "/dev/attack", "/root/attack"),
):
    _write("writing", _path)

for _path, _title in {
    "/workspace/ipc/attack.json": "a file of its own into the mailbox's top",
    "/workspace/ipc/results/forged.json": "an answer of the host's",
    "/workspace/ipc/current_tasks.json": "the list of tasks",
    "/workspace/ipc/available_groups.json": "the list of groups",
    "/workspace/ipc/claimed/attack.json": "a file that looks claimed",
    "/workspace/global/CLAUDE.md": "the memory of all groups",
    "/workspace/global/attack.md": "a new file among what all groups read",
    "/workspace/media/attack": "what people sent",
}.items():
    _write("writing", _path, _title)

for _path in (
    *("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches"),
    *("/proc/sys/kernel/hostname", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/fs/binfmt_misc/register"),
    *("/sys/kernel/uevent_helper", "/sys/power/state", "/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/cgroup.procs"),
    *("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/proc/self/uid_map"),
    *("/proc/irq/default_smp_affinity", "/proc/mtrr", "/proc/acpi/wakeup"),
):
    _write("the kernel's knobs", _path)


@attempt("writing", "remove a program of the image", *_READ_ONLY)
def _(_: Lab) -> str:
    os.unlink("/opt/nanoclaw/bin/nanoclaw-ipc")
    return "it was removed"


@attempt("writing", "make a program of the image writable", *_READ_ONLY)
def _(_: Lab) -> str:
    Path("/opt/nanoclaw/bin/nanoclaw-runner").chmod(0o777)
    return "it was permitted"


@attempt("writing", "a hard link to a file of the image", *_READ_ONLY, "EXDEV")
def _(_: Lab) -> str:
    os.link("/etc/passwd", "/workspace/group/passwd")
    return "it was linked"


@attempt("writing", "a hard link from one directory of its own to another", "EXDEV", "EPERM")
def _(_: Lab) -> str:
    source = Path("/workspace/group/link-me")
    source.touch()
    os.link(source, "/workspace/ipc/messages/.linked")
    return "it was linked"


@attempt("writing", "what all groups read, through a link of its own", *_READ_ONLY)
def _(_: Lab) -> str:
    link = Path("/workspace/group/to-global")
    if not link.is_symlink():
        link.symlink_to("/workspace/global/CLAUDE.md")
    return write(str(link))
