"""What the prompt needs to know of the sandbox: the memory files and the time."""

import os
import stat
import time
from typing import Final

MEMORY_FILE: Final = "CLAUDE.md"
MAX_MEMORY_BYTES: Final = 32 << 10


def read_memory(directory: str) -> str:
    """The memory file of a directory, `""` when there is none; what goes beyond `MAX_MEMORY_BYTES` is left out."""
    path = f"{directory}/{MEMORY_FILE}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # the agent may have put a FIFO there
    except OSError:
        return ""
    try:
        data = os.read(fd, MAX_MEMORY_BYTES + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)
    text = data[:MAX_MEMORY_BYTES].decode("utf-8", "replace").replace("\0", "").strip()  # it may become an argument
    if len(data) > MAX_MEMORY_BYTES:
        text += f"\n[cut after {MAX_MEMORY_BYTES >> 10} KiB: read the rest in {path}]"
    return text


def local_time(timezone: str) -> str:
    """The present moment, e.g. `Sunday, 2026-11-22 11:40 (Europe/Berlin)`; `timezone` names the process's own zone."""
    return time.strftime(f"%A, %Y-%m-%d %H:%M ({timezone})")
