"""Run inside a sandbox, by the agent's own shell: prints the name of every secret that it finds, and where.

Its argument is what to look for, as JSON: for each secret a name, its first characters, its length and its digest.
"""

import contextlib
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

MOST = 64 << 20
PIECE = 4 << 20
SECONDS = 100.0
"""For memories: Claude Code's are hundreds of megabytes, and its shell has two minutes."""

wanted = [(each["name"], each["begin"].encode(), each["length"], each["digest"]) for each in json.loads(sys.argv[1])]
found: set[str] = set()


def look(where: str, content: bytes) -> None:
    for name, begin, length, digest in wanted:
        at = content.find(begin)
        while at >= 0:
            if hashlib.sha256(content[at : at + length]).hexdigest() == digest:
                found.add(f"{name}: {where}")
                break
            at = content.find(begin, at + 1)


def read(path: Path) -> bytes:
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            return file.read(MOST)
    return b""


def processes() -> None:
    for process in Path("/proc").glob("[0-9]*"):
        name = read(process / "comm").decode().strip()
        for what in ("environ", "cmdline"):
            look(f"{what} of {name}", read(process / what))
        with contextlib.suppress(OSError):
            for handle in (process / "fd").iterdir():
                if handle.is_file():
                    look(f"descriptor of {name}", read(handle))
        if process.name != str(os.getpid()):
            look_into_memory(process, name)


def look_into_memory(process: Path, name: str) -> None:
    with contextlib.suppress(OSError), (process / "mem").open("rb", 0) as memory:
        for low, high in spans(process):
            rest = b""
            for at in range(low, min(high, low + 4 * MOST), PIECE):
                if time.monotonic() > deadline:
                    return
                with contextlib.suppress(OSError, OverflowError):
                    memory.seek(at)
                    piece = memory.read(min(PIECE, high - at))
                    look(f"memory of {name}", rest + piece)
                    rest = piece[-4096:]


def spans(process: Path) -> Iterator[tuple[int, int]]:
    """What it has written to; most of what a JavaScript engine has is only reserved."""
    low = high = 0
    for line in read(process / "smaps").decode().splitlines():
        first, *rest = line.split()
        if "-" in first and not first.endswith(":"):
            low, high = (int(part, 16) for part in first.split("-")) if "r" in rest[0] else (0, 0)
        elif first == "Anonymous:" and rest[0] != "0":
            yield low, high


def files() -> None:
    for directory, inner, names in os.walk("/"):
        interpreter = directory != "/" and Path(directory, "bin", "python3").exists()  # the runner's may lie anywhere
        if interpreter or directory in ("/proc", "/sys", "/usr", "/opt", "/dev"):
            inner.clear()
            continue
        for path in (Path(directory, name) for name in names):
            if path.is_file():
                look(f"file {path}", read(path))


def ask(request: bytes, family: socket.AddressFamily, address: object) -> None:
    with contextlib.suppress(OSError), socket.socket(family) as relay:
        relay.settimeout(3)
        relay.connect(address)  # pyright: ignore[reportArgumentType]
        relay.sendall(request)
        answer = b""
        while piece := relay.recv(1 << 16):
            answer += piece
            look("relay", answer)


os.environ["HUNTED"] = "hunted-by-" + "the-agent-itself"
look("environment", "\n".join(f"{name}={value}" for name, value in os.environ.items()).encode())
files()
for place in ("openai/models", "anthropic/v1/models", "chatgpt/wham/accounts/check", "oauth/token", "openai/../x"):
    for method in ("GET", "TRACE", "OPTIONS"):
        asked = f"{method} /{place} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        ask(asked, socket.AF_INET, ("127.0.0.1", 3128))
        ask(asked, socket.AF_UNIX, "/run/nanoclaw/gateway.sock")
deadline = time.monotonic() + SECONDS
processes()
found.add("looked everywhere" if time.monotonic() < deadline else "ran out of time")
sys.stdout.write("\n".join(sorted(found)))
