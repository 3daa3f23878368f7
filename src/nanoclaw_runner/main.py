"""The runner's beginning and end: a proof, if the host asks for one, then one `ContainerInput` in and events out,
exactly one of them the last.

The main thread drives the provider. The watch ends the run from outside: when the host closes stdin (because it wants
to, or because it died), on SIGTERM, and when the time is up.
"""

import importlib
import json
import os
import select
import signal
import sys
import threading
import time
from typing import Any, Final, NoReturn

from nanoclaw.providers import PROVIDERS
from nanoclaw.wire import GROUP_DIRECTORY, PROTOCOL, ContainerInput, Done, Failed
from nanoclaw_runner.cli import kill_running
from nanoclaw_runner.emitter import Emitter
from nanoclaw_runner.events import failed
from nanoclaw_runner.process_one import step_aside
from nanoclaw_runner.relay import SOCKET, Relay

_LAST_SECONDS: Final = 10
"""For ending the CLI and for a host that reads slowly; then the kernel ends a runner that was told to stop."""


def main() -> NoReturn:
    """Serve one run and exit."""
    step_aside()
    os.umask(0o022)
    emit = Emitter(_take_stdout())
    try:
        end = _serve(emit)
    except OSError as error:
        _log(error)
        end = failed("sandbox", f"something is wrong with the sandbox: {error}")
    except Exception as error:  # noqa: BLE001  # the runner's outermost edge
        _log(error)
        end = failed("internal", f"the runner failed: {type(error).__name__}")
    if not emit.claim_end():
        threading.Event().wait()  # the watch ends the run, and this process with it
    _exit(emit, end)


def _serve(emit: Emitter) -> Done | Failed:
    request = _read_line()
    if request["protocol"] != PROTOCOL:
        asked = request["protocol"]
        return failed("sandbox", f"the sandbox is of another version: it speaks protocol {PROTOCOL}, the host {asked}")
    if request.get("type") == "prove":
        emit(importlib.import_module("nanoclaw_runner.proof").prove(request))
        request = _read_line()
    return _run(request, emit)


def _run(request: ContainerInput, emit: Emitter) -> Done | Failed:
    emit({"type": "started", "protocol": PROTOCOL})
    _watch(emit, request["timeoutSeconds"])
    if os.path.exists(SOCKET):  # noqa: PTH110  # else the host carries, and has begun to before it sent the request
        Relay().start()
    os.chdir(GROUP_DIRECTORY)
    os.environ["TZ"] = request["timezone"]
    time.tzset()
    provider = importlib.import_module(PROVIDERS[request["provider"]].module)  # pyright: ignore[reportArgumentType]  # KeyError: internal
    return provider.run(request, emit)


def _read_line() -> Any:  # noqa: ANN401  # whatever the host sends
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        sys.exit("the host went away before it said what to run")
    return json.loads(line)


def _log(error: Exception) -> None:
    sys.excepthook(type(error), error, error.__traceback__)  # `traceback` would be one more import of every start


def _take_stdout() -> int:
    """Keep stdout for events alone: whatever else is printed, here or by a child, goes to stderr."""
    fd = os.dup(1)
    os.dup2(2, 1)
    return fd


def _watch(emit: Emitter, seconds: float) -> None:
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGTERM, _ignore)
    signal.set_wakeup_fd(wake)  # the signal arrives as a byte there
    deadline = time.monotonic() + seconds

    def wait() -> Failed:
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(woken, select.POLLIN)
        while ready := poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            if any(fd == woken for fd, _ in ready):
                return failed("crashed", "the sandbox was told to stop")
            if not os.read(0, 1 << 16):
                return failed("crashed", "the host ended the run")
        return failed("timeout", f"the run took longer than {seconds:g} seconds")

    def watch() -> None:
        end = wait()
        if emit.claim_end():
            _exit(emit, end)

    threading.Thread(target=watch, name="watch", daemon=True).start()


def _ignore(number: int, frame: object) -> None: ...


def _exit(emit: Emitter, end: Done | Failed) -> NoReturn:
    signal.alarm(_LAST_SECONDS)
    try:
        kill_running()
        emit.end(end)
    finally:  # the host may be gone
        os._exit(0)  # without the clean-up of an interpreter whose memory is about to go anyway
