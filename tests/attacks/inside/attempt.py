"""One thing that an attacker tries, and what it is answered."""

import errno
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

Lab = dict[str, Any]
"""What the attacker is told of the host, so that no attempt fails for want of knowledge; see `campaign.Lab`."""
Act = Callable[[Lab], str]
"""Tries it. Answers in a word or two what happened; an `OSError` is what happened, by the name of its number."""

QUIET: Final = "quiet"
"""Attempts that disturb nobody, many at once."""
ALONE: Final = "alone"
"""Attempts that want to be alone."""
LAST: Final = "last"
"""What is left behind for the next run of this group."""
BOMB: Final = "bomb"
"""Attempts to use up the machine."""


@dataclass(frozen=True)
class Attempt:
    """One row of the table, before it was tried."""

    category: str
    name: str
    expected: tuple[str, ...]
    """What may happen; anything else is a hole, or an attempt that is broken."""
    act: Act
    phase: str
    seconds: float


ATTEMPTS: Final[list[Attempt]] = []
PATIENCE: Final = 90.0
"""Seconds: an attempt takes milliseconds, a few take seconds, and a busy machine much longer."""


def attempt(
    category: str, name: str, *expected: str, phase: str = QUIET, seconds: float = PATIENCE
) -> Callable[[Act], Act]:
    """Put a function on the list; one that is not over after `seconds` is broken."""

    def register(act: Act) -> Act:
        ATTEMPTS.append(Attempt(category, name, expected, act, phase, seconds))
        return act

    return register


def outcome(act: Act, lab: Lab) -> str:
    """What happens when it is tried, as one line."""
    try:
        return act(lab)
    except socket.gaierror:
        return "no such name"
    except TimeoutError:
        return "timeout"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    except Exception as error:  # a broken attempt is a row of the table like any other
        return f"broken: {type(error).__name__}: {error}"[:200]


def in_child(work: Callable[[], str], seconds: float) -> str:
    """Do it in a process of its own, killed after `seconds`: an attack may end or change whoever tries it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os.write(writing, work().encode("utf-8", "replace")[:4000])
        os._exit(0)
    os.close(writing)
    return await_child(pid, reading, seconds)


def await_child(pid: int, reading: int, seconds: float) -> str:
    """What a child says through its pipe; if it says nothing, how it ended."""
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    deadline = time.monotonic() + seconds
    status: int | None = None
    said = b""
    while not said and status is None and time.monotonic() < deadline:
        ended, result = os.waitpid(pid, os.WNOHANG)
        status = result if ended else None
        if poll.poll(0 if ended else 20):  # the pipe's end may be held open by another child
            said = os.read(reading, 4096)
    os.close(reading)
    if status is None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return said.decode() or f"broken: not over after {seconds:g} s"
    if os.WIFSIGNALED(status):
        return said.decode() or signal.Signals(os.WTERMSIG(status)).name
    return said.decode() or f"exit {os.waitstatus_to_exitcode(status)}"
