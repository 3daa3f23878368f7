"""Using up the machine. Every bomb has a bound of its own, beyond what is allowed and far below what would hurt."""

import mmap
import os
import resource
import signal
import tempfile
import time
from pathlib import Path

from .attempt import BOMB, Lab, attempt

_FULL = ("ENOSPC", "EDQUOT", "EROFS", "EFBIG")


@attempt("resources", "processes without end", "EAGAIN", phase=BOMB)
def _(lab: Lab) -> str:
    children: list[int] = []
    try:
        while len(children) < lab["pids"] + 50:
            pid = os.fork()
            if pid == 0:
                signal.pause()
            children.append(pid)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)
    return f"made {len(children)} processes"


@attempt("resources", "memory without end", "SIGKILL", "ENOMEM", phase=BOMB)
def _(lab: Lab) -> str:
    held: list[mmap.mmap] = []
    for _ in range((lab["memory"] + (128 << 20)) >> 24):
        piece = mmap.mmap(-1, 1 << 24)
        piece.write(b"x" * (1 << 24))
        held.append(piece)
    return f"held {len(held) << 4} MiB"


@attempt("resources", "descriptors without end", "EMFILE", "ENFILE", phase=BOMB)
def _(_: Lab) -> str:
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(10_000)]
    return f"held {len(held)}"


def _fill(directory: str, most: int) -> str:
    block = b"x" * (1 << 20)
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        for _ in range(most >> 20):
            os.write(file.fileno(), block)
    return f"wrote {most >> 20} MiB"


@attempt("resources", "fill /tmp", *_FULL, phase=BOMB)
def _(lab: Lab) -> str:
    return _fill("/tmp", lab["tmp"] + (8 << 20))


@attempt("resources", "one file larger than all that its group may keep", "EFBIG", phase=BOMB)
def _(lab: Lab) -> str:
    with tempfile.NamedTemporaryFile(dir="/workspace/group") as file:
        os.posix_fallocate(file.fileno(), 0, lab["disk"] + 1)
    return "it was made"


def fill_disk(lab: Lab) -> str:
    """More than its group may keep, in several files; the host is to end this run."""
    pieces = 5
    for number in range(pieces):
        with open(f"/workspace/group/fill-{number}", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, lab["disk"] // (pieces - 1))
    time.sleep(60)
    return "it went on"


@attempt("resources", "fill /run", *_FULL, "EACCES", phase=BOMB)
def _(_: Lab) -> str:
    return _fill("/run", 32 << 20)


@attempt("resources", "fill /dev/shm", *_FULL, "EACCES", phase=BOMB)
def _(_: Lab) -> str:
    return _fill("/dev/shm", 80 << 20)


@attempt("resources", "a core as large as its memory", "none", phase=BOMB)
def _(_: Lab) -> str:
    return "none" if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0 else "cores are allowed"


@attempt("resources", "every processor, for as long as its neighbour's run", "it ended", phase=BOMB)
def _(lab: Lab) -> str:
    end = time.monotonic() + lab["burn seconds"]
    for _ in range(8):
        if os.fork() == 0:
            while time.monotonic() < end:
                pass
            os._exit(0)
    for _ in range(8):
        os.wait()
    return "it ended"


@attempt("resources", "a flood of 1000 files in its mailbox", "it ended", phase=BOMB)
def _(_: Lab) -> str:
    for number in range(1000):
        Path(f"/workspace/ipc/messages/flood-{number}.json").write_bytes(b"{}")
    return "it ended"
