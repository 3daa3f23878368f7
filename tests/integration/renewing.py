"""A process that renews a login and is killed at a given step: `python -m tests.integration.renewing ROOT`.

It reads a line of JSON for each try: the home, and at which line of the renewal's code it is to be killed, counted by
lines that were not reached before. It answers a line: whether that line was reached.
"""

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import anyio

from nanoclaw import credentials
from nanoclaw.clock import SystemClock
from nanoclaw.config import Home
from nanoclaw.credentials import Access, Keeper, renewal
from nanoclaw.model import Folder, Jid, RegisteredGroup

FAMILY = RegisteredGroup(
    jid=Jid("local:family"),
    name="Family",
    folder=Folder("family"),
    trigger="@Andy",
    added_at="",
    provider="codex",
)
RUN_SECONDS = 1800.0
_CODE = {str(Path(credentials.__file__).with_name(f"{name}.py")) for name in ("renewal", "spent", "store", "files")}


async def sign_in(home: Home) -> Access:
    """What a run of the group gets."""
    return await Keeper(home, "gateway", SystemClock(), list[Folder]).for_run(FAMILY, RUN_SECONDS)


def kill_at(step: int) -> None:
    """Have this process killed when it comes to its so many-th line."""
    seen: set[tuple[str, int]] = set()
    begun: list[bool] = []

    def trace(frame: FrameType, event: str, _argument: object):  # noqa: ANN202 - a trace function answers itself
        if frame.f_code.co_filename not in _CODE:
            return None
        if frame.f_code is renewal.renew.__code__:
            begun.append(True)
        if event == "line" and begun:
            seen.add((frame.f_code.co_filename, frame.f_lineno))
            if len(seen) == step:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def main() -> None:
    renewal.authorities()  # once for all, as it takes long
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # its log
            kill_at(asked["step"])
            anyio.run(sign_in, Home(Path(asked["home"])))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        sys.stdout.write(json.dumps({"killed": killed, "failed": bool(status) and not killed}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
