"""Process 1 of a sandbox: it holds nothing and shows nothing, and buries what is orphaned.

Agents have the runner's user. What process 1 holds open they could open too, by `/proc/1/fd`, and speak to the host in
the runner's name. So process 1 closes everything, is closed to the agent, and the runner is its child.
"""

import ctypes
import os
import signal
from typing import Final, NoReturn

_SET_DUMPABLE: Final = 4
_KILLED: Final = 128  # and the signal's number: how a shell reports a child that was killed


def step_aside() -> None:
    """Return in a child that does the work, if this is process 1, which then waits for it and ends as it does."""
    if os.getpid() != 1:
        return
    close_to_agents()  # the child begins so, too
    child = os.fork()
    if child:
        _wait_for(child)


def close_to_agents() -> None:
    """Let nobody look into this process, or open what it holds open."""
    ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)


def _wait_for(child: int) -> NoReturn:
    signal.signal(signal.SIGTERM, lambda number, _frame: os.kill(child, number))
    os.closerange(0, 3)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else _KILLED - code)
