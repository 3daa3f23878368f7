"""Becoming more than the agent's user, leaving the namespaces, reaching into the kernel.

What would do harm if it were permitted is asked for in a way that fails then, too, but otherwise than by a refusal.
"""

import ctypes
import os
import resource
import signal
import stat
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from . import kernel
from .attempt import Lab, attempt
from .processes import runner

_DENIED = ("EPERM", "ENOSYS")
_AT_FDCWD = -100


def _call(title: str, name: str, *arguments: int | bytes | None, also: tuple[str, ...] = ()) -> None:
    @attempt("privilege", title, *_DENIED, *also)
    def _(_: Lab) -> str:
        return f"answered {kernel.call(name, *arguments)}"


_call("unshare: a user namespace of its own", "unshare", kernel.CLONE_NEWUSER)
_call("unshare: a mount namespace", "unshare", kernel.CLONE_NEWNS)
_call("unshare: a network namespace", "unshare", kernel.CLONE_NEWNET)
_call("unshare: a process namespace", "unshare", kernel.CLONE_NEWPID)
_call("unshare: a control group namespace", "unshare", kernel.CLONE_NEWCGROUP)
_call("mount: a file system in memory", "mount", b"none", b"/tmp", b"tmpfs", 0, None)
_call("mount: the process list anew", "mount", b"proc", b"/tmp", b"proc", 0, None)
_call("mount: the devices' file system", "mount", b"none", b"/tmp", b"devtmpfs", 0, None)
_call("mount: the mailbox writable", "mount", None, b"/workspace/ipc", None, 0x1020, None)
_call("mount: the root writable", "mount", None, b"/", None, 0x20, None)
_call("mount: the root once more", "mount", b"/", b"/tmp", None, 0x1000, None)
_call("umount2: uncover what the mailbox hides", "umount2", b"/workspace/ipc", 2)
_call("umount2: uncover what hides /proc/kcore", "umount2", b"/proc/kcore", 2)
_call("pivot_root", "pivot_root", b"/tmp", b"/tmp")
_call("chroot", "chroot", b"/tmp")
_call("fsopen: the new way to mount", "fsopen", b"tmpfs", 0)
_call("open_tree: a copy of the mounts", "open_tree", _AT_FDCWD, b"/", 1)
_call("move_mount", "move_mount", _AT_FDCWD, b"/tmp", _AT_FDCWD, b"/run", 0)
_call("mount_setattr: clear read-only", "mount_setattr", _AT_FDCWD, b"/", 0, struct.pack("QQQQ", 0, 1, 0, 0), 32)
_call("kexec_load", "kexec_load", 0, 0, None, 0xFFFF)
_call("kexec_file_load", "kexec_file_load", -1, -1, 0, None, 0)
_call("init_module: a kernel module", "init_module", None, 0, b"")
_call("finit_module", "finit_module", -1, b"", 0)
_call("delete_module", "delete_module", b"no-such-module", 0)
_call("bpf: load a program into the kernel", "bpf", 5, b"\0" * 128, 128)
_call("keyctl: the session's keyring", "keyctl", 0, -3, 1)
_call("add_key: into the user's keyring", "add_key", b"user", b"attack", b"x", 1, -4)
_call("request_key", "request_key", b"user", b"attack", None, -4)
_call("io_uring_setup", "io_uring_setup", 1, b"\0" * 120)
_call("userfaultfd: without asking", "userfaultfd", 0)
_call("userfaultfd: of user space", "userfaultfd", 1)
_call("perf_event_open", "perf_event_open", struct.pack("II", 1, 112) + b"\0" * 104, 0, -1, -1, 0)
_call("clock_settime", "clock_settime", 0, struct.pack("qq", -1, -1))
_call("settimeofday", "settimeofday", None, None)
_call("adjtimex: bend the clock", "adjtimex", struct.pack("I", 0x4000) + b"\0" * 204)
_call("sethostname", "sethostname", b"attacked", 8)
_call("setdomainname", "setdomainname", b"attacked", 8)
_call("reboot", "reboot", 0, 0, 0, None)
_call("swapon", "swapon", b"/no-such-file", 0)
_call("acct: log every process", "acct", b"/no-such-file")
_call("quotactl", "quotactl", 0, None, 0, None)
_call("iopl: the ports of the machine", "iopl", 3)
_call("ioperm", "ioperm", 0x80, 1, 1)
_call("fanotify_init: watch every file", "fanotify_init", 0x4, 0)
_call("lookup_dcookie", "lookup_dcookie", 0, b"\0" * 8, 8)
_call("syslog: the kernel's messages", "syslog", 10, None, 0)
_call("vhangup", "vhangup")
_call("modify_ldt", "modify_ldt", 1, b"\0" * 16, 16)
_call("uselib", "uselib", b"/no-such-file")
_call("name_to_handle_at: a handle of the root", "name_to_handle_at", _AT_FDCWD, b"/", b"\0" * 16, b"\0" * 8, 0,
      also=("EOVERFLOW", "EOPNOTSUPP", "ENOTSUP"))  # fmt: skip
_call("open_by_handle_at: the host's root by its number", "open_by_handle_at", 0,
      struct.pack("IiQ", 8, 1, 2), 0)  # fmt: skip
_call("a system call that the list does not know", "unshare", -1)


@attempt("privilege", "a system call newer than the list", "ENOSYS")
def _(_: Lab) -> str:
    return f"answered {kernel.raw(467, 0, 0, 0, 0)}"


@attempt("privilege", "unshare by the numbers of x32", "ENOSYS", "EPERM", "SIGSYS")
def _(_: Lab) -> str:
    return f"answered {kernel.raw(kernel.X32_BIT | (kernel.number_of('unshare') or 0), kernel.CLONE_NEWUSER)}"


@attempt("privilege", "unshare by the 32-bit door", "SIGSYS", "SIGSEGV", "ENOSYS", "EPERM")
def _(_: Lab) -> str:
    if os.uname().machine != "x86_64":
        raise OSError(38, "no such door")
    wanted = struct.pack("<BIBI", 0xB8, 310, 0xBB, kernel.CLONE_NEWUSER)  # mov eax, unshare; mov ebx, flags
    answer = kernel.execute(b"\x53" + wanted + b"\xcd\x80\x5b\xc3")  # push rbx; int 0x80; pop rbx; ret
    return {-1: "EPERM", -38: "ENOSYS"}.get(answer, f"answered {answer}")


def _clone(flags: int) -> str:
    pid = kernel.call("clone", flags | signal.SIGCHLD, None, None, None, None)
    if pid == 0:
        os._exit(0)
    return "made a namespace"


for _title, _flags in {
    "user": kernel.CLONE_NEWUSER,
    "mount": kernel.CLONE_NEWNS,
    "network": kernel.CLONE_NEWNET,
    "host name": kernel.CLONE_NEWUTS,
    "ipc": kernel.CLONE_NEWIPC,
}.items():

    @attempt("privilege", f"clone: into a new {_title} namespace", *_DENIED)
    def _(_: Lab, flags: int = _flags) -> str:
        return _clone(flags)


@attempt("privilege", "clone3: into a new user namespace", *_DENIED)
def _(_: Lab) -> str:
    pid = kernel.call("clone3", struct.pack("8Q", kernel.CLONE_NEWUSER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0), 64)
    if pid == 0:
        os._exit(0)
    return "made a namespace"


@attempt("privilege", "setns: into the namespaces of process 1", *_DENIED, "EACCES")
def _(_: Lab) -> str:
    return f"answered {kernel.call('setns', os.open('/proc/1/ns/mnt', os.O_RDONLY), 0)}"


def _becoming(title: str, act: Callable[[], object], *also: str) -> None:
    @attempt("privilege", title, *_DENIED, *also)
    def _(_: Lab) -> str:
        act()
        return "it was permitted"


# without a mapping for root there is no such user, which is EINVAL
_becoming("setuid to root", lambda: os.setuid(0), "EINVAL")
_becoming("setgid to root's group", lambda: os.setgid(0), "EINVAL")
_becoming("setgroups", lambda: os.setgroups([0]), "EINVAL")
_becoming("setresuid to another user", lambda: os.setresuid(1001, 1001, 1001), "EINVAL")
_becoming("chown of its own file to root", lambda: _own_file("chown"), "EINVAL")
_becoming("a block device of its own, by mknod", lambda: _node(stat.S_IFBLK, 254, 0), "EACCES")
_becoming("the machine's memory, by mknod", lambda: _node(stat.S_IFCHR, 1, 1), "EACCES")
_becoming("a higher priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20), "EACCES")
_becoming("real-time scheduling", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)))
_becoming("real-time access to the disk", lambda: kernel.call("ioprio_set", 1, 0, 1 << 13))
_becoming("more processes than allowed", lambda: _raise_limit(resource.RLIMIT_NPROC), "ValueError", "broken")
_becoming("no-new-privileges off again", lambda: kernel.prctl(38, 0, 0, 0, 0), "EINVAL")
_becoming("ambient capabilities", lambda: kernel.prctl(47, 2, 21, 0, 0), "EINVAL")
_becoming("secure bits", lambda: kernel.prctl(28, 0x2F))
_becoming(
    "capset: every capability",
    lambda: kernel.call("capset", struct.pack("Ii", 0x20080522, 0), b"\xff" * 24),
)


def _own_file(_: str) -> None:
    path = Path(f"/tmp/own-{os.getpid()}")
    path.touch()
    os.chown(path, 0, 0)


def _node(kind: int, major: int, minor: int) -> None:
    path = f"/tmp/node-{os.getpid()}"
    os.mknod(path, kind | 0o666, os.makedev(major, minor))
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))


def _raise_limit(which: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard == resource.RLIM_INFINITY:
        return
    try:
        resource.setrlimit(which, (hard + 1, hard + 1))
    except ValueError as error:
        raise PermissionError(1, "not permitted") from error


@attempt("privilege", "the signs of confinement in /proc/self/status", "confined")
def _(_: Lab) -> str:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    status = {line.split(":")[0]: line.split(":")[1].strip() for line in lines}
    capabilities = {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    marks = (status["NoNewPrivs"], status["Seccomp"], status["Uid"].split())
    good = capabilities == {0} and marks == ("1", "2", ["1000"] * 4)
    return "confined" if good else f"{capabilities} {marks}"


@attempt("privilege", "root by a set-uid program of the image", "not root", "ENOENT")
def _(_: Lab) -> str:
    with subprocess.Popen(["su", "root"], stdin=-1, stdout=-3, stderr=-3, start_new_session=True) as process:
        time.sleep(0.05)  # it reads a password; only its rights are looked at
        lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
        process.kill()
    uids = next(line for line in lines if line.startswith("Uid:")).split()[1:]
    return "not root" if set(uids) == {"1000"} else f"ran as {uids}"


@attempt("privilege", "root by a set-uid copy of a shell", "not root")
def _(_: Lab) -> str:
    copy = Path(f"/workspace/group/shell-{os.getpid()}")
    copy.write_bytes(Path("/bin/sh").read_bytes())
    copy.chmod(0o6755)
    answer = subprocess.run([str(copy), "-c", "id -u"], capture_output=True, text=True, timeout=60, check=False)
    copy.unlink()
    return "not root" if answer.stdout.strip() == "1000" else f"{answer.stdout.strip()} {answer.stderr[:60]}"


@attempt("other processes", "ptrace: attach to the runner", *_DENIED)
def _(_: Lab) -> str:
    return f"answered {kernel.call('ptrace', 16, runner(), None, None)}"


@attempt("other processes", "ptrace: seize process 1", *_DENIED)
def _(_: Lab) -> str:
    return f"answered {kernel.call('ptrace', 0x4206, 1, None, None)}"


def _vector(buffer: "ctypes.Array[ctypes.c_char]") -> bytes:
    return struct.pack("QQ", kernel.address_of(buffer), len(buffer))


@attempt("other processes", "process_vm_readv: the runner's memory", *_DENIED)
def _(_: Lab) -> str:
    vector = _vector(ctypes.create_string_buffer(8))
    return f"answered {kernel.call('process_vm_readv', runner(), vector, 1, vector, 1, 0)}"


@attempt("other processes", "process_vm_writev: the runner's memory", *_DENIED)
def _(_: Lab) -> str:
    vector = _vector(ctypes.create_string_buffer(8))
    return f"answered {kernel.call('process_vm_writev', runner(), vector, 1, vector, 1, 0)}"


@attempt("other processes", "pidfd_getfd: the runner's output", *_DENIED)
def _(_: Lab) -> str:
    handle = kernel.call("pidfd_open", runner(), 0)
    return f"answered {kernel.call('pidfd_getfd', handle, 1, 0)}"


@attempt("other processes", "kcmp: compare itself with the runner", *_DENIED)
def _(_: Lab) -> str:
    return f"answered {kernel.call('kcmp', os.getpid(), runner(), 0, 0, 0)}"


@attempt("other processes", "move_pages of the runner", *_DENIED)
def _(_: Lab) -> str:
    return f"answered {kernel.call('move_pages', runner(), 0, None, None, None, 0)}"


@attempt("other processes", "the runner's memory, to write, by /proc", "EACCES", "EPERM")
def _(_: Lab) -> str:
    os.close(os.open(f"/proc/{runner()}/mem", os.O_WRONLY))
    return "it was opened"


@attempt("other processes", "the runner's descriptors, by /proc", "EACCES", "EPERM")
def _(_: Lab) -> str:
    return f"saw {len(os.listdir(f'/proc/{runner()}/fd'))} descriptors"


@attempt("other processes", "protect itself from the kernel's killer", "EACCES", "EPERM", "EROFS")
def _(_: Lab) -> str:
    Path("/proc/self/oom_score_adj").write_text("-1000", encoding="ascii")
    return "it was permitted"


@attempt("other processes", "make the runner the kernel's first victim", "EACCES", "EPERM", "EROFS", "itself only")
def _(_: Lab) -> str:
    Path(f"/proc/{runner()}/oom_score_adj").write_text("900", encoding="ascii")
    return "itself only"  # it ends the run of its own group, which it can do anyway
