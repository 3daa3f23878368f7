"""Speaking to the host in the runner's name, and ending what it is answered by."""

import json
import os
import signal
import time

from .attempt import Lab
from .processes import runner, visible

FORGED = "forged by the agent's child"


def forge() -> str:
    """Say `output` and `done` on the pipes that lead to the host; answers which of them that was possible on."""
    lines = [{"type": "output", "text": FORGED}, {"type": "done", "sessionId": "forged"}]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    return ", ".join(place for place in _outputs() if _write(place, data)) or "refused"


def _outputs() -> list[str]:
    """Where the runner and process 1 write to; by number where the descriptors cannot be listed."""
    found: list[str] = []
    for pid in {1, runner()}:
        try:
            numbers = [int(name) for name in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            numbers = list(range(10))
        found += [f"/proc/{pid}/fd/{number}" for number in sorted(numbers) if number in _EVENTS[pid == 1]]
    return found


_EVENTS = ((2, 3), (1, 2))
"""The descriptors that lead to the host, in the runner and in process 1."""


def _write(place: str, data: bytes) -> bool:
    try:
        handle = os.open(place, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        os.write(handle, data)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def flood(megabytes: int) -> str:
    """As much as that on its own stderr, and on the runner's if it can be opened."""
    block = (b"\x1b[31m" + b"noise " * 200 + b"\n") * 800
    for place in (f"/proc/{runner()}/fd/2", "/dev/stderr"):
        try:
            handle = os.open(place, os.O_WRONLY)
        except OSError:
            continue
        for _ in range(megabytes // 2):
            os.write(handle, block)
        os.close(handle)
    return "it ended"


def end_runner(_: Lab, number: int) -> str:
    """Send the runner a signal; the host is to find out."""
    os.kill(runner(), number)
    time.sleep(5)
    return "it was sent"


def end_all(_: Lab) -> str:
    """Kill everything that can be killed."""
    os.kill(-1, signal.SIGKILL)
    return "it was sent"


def paint_and_end(lab: Lab) -> str:
    """Have the runner's last words be a terminal sequence."""
    text = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egpj.exe\n".encode()
    for pid in (runner(), os.getppid(), *visible()):
        try:
            handle = os.open(f"/proc/{pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            continue
        os.write(handle, text)
        os.close(handle)
    time.sleep(0.2)  # for the runner to pass on what its CLI says
    return end_runner(lab, signal.SIGKILL)
