"""`python -m nanoclaw.channels.whatsapp.worker --directory DIRECTORY --fd NUMBER`: started by the supervisor.

It ends with `os._exit`, never otherwise: the library's threads cannot all be ended.
"""

import argparse
import fcntl
import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

from nanoclaw.channels.whatsapp import requirement
from nanoclaw.channels.whatsapp.protocol import (
    EXIT_DISK,
    EXIT_LOCKED,
    EXIT_UNUSABLE,
    Frame,
    Start,
)
from nanoclaw.channels.whatsapp.worker.spool import Spool, SpoolError
from nanoclaw.channels.whatsapp.worker.wire import Wire

_LOCK_SECONDS: Final = 5.0  # a worker whose host was killed ends at once
_LOOK_SECONDS: Final = 0.05

log = logging.getLogger(__name__)


def main() -> None:
    """Be a worker until the host is gone."""
    parser = argparse.ArgumentParser(prog="worker")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--fd", type=int, required=True)
    options = parser.parse_args()
    os.umask(0o077)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    wire = Wire(socket.socket(fileno=options.fd))
    _hold_lock(options.directory / "lock")
    try:
        spool = Spool(options.directory / "spool.db")
    except SpoolError:
        log.exception("the spool cannot be opened")
        os._exit(EXIT_DISK)
    wire.say("hello", pid=os.getpid())
    _work(options.directory, spool, wire)
    os._exit(0)


def _hold_lock(path: Path) -> None:
    """One process for one session; the lock ends with this one."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                os._exit(EXIT_LOCKED)
            time.sleep(_LOOK_SECONDS)
        else:
            return


def _work(directory: Path, spool: Spool, wire: Wire) -> None:
    worker: Any = None
    for frame in wire.frames():
        if worker is not None:
            worker.obey(frame)
        elif frame.get("do") == "start":
            worker = _begin(directory, _start(frame), spool, wire)


def _start(frame: Frame) -> Start:
    fields: dict[str, Any] = {name: value for name, value in frame.items() if name not in ("v", "do")}
    fields["follow"] = tuple(fields["follow"])
    return Start(**fields)


def _begin(directory: Path, start: Start, spool: Spool, wire: Wire) -> Any:  # noqa: ANN401  # its type is of the library's side
    requirement.forbid_download()
    try:
        from nanoclaw.channels.whatsapp.worker.work import Worker  # heavy, and it may fail
    except (ImportError, OSError, RuntimeError, TypeError) as error:
        log.exception("the library cannot be loaded")
        wire.say("unusable", detail=str(error))
        os._exit(EXIT_UNUSABLE)
    if start.link:
        for remnant in directory.glob("session.db*"):  # of an account that logged us out: it would be tried first
            remnant.unlink()
    worker = Worker(directory, start, spool, wire)
    worker.begin()
    return worker


main()
