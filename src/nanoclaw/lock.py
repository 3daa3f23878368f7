"""One writer: whoever may write a home's database holds its lock."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager

from nanoclaw.config import Home, make_private
from nanoclaw.errors import HostError


@contextmanager
def only_writer(home: Home) -> Generator[None]:
    """Hold the lock of whoever may write this home's database.

    Raises:
        HostError: a host, or a command that writes, holds it.
    """
    make_private(home.run)
    make_private(home.sockets)
    with home.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise HostError(
                f"a host is running already on {home.root} (process {file.read().strip() or 'unknown'})",
                "talk to it with `nanoclaw chat`, or stop it first",
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
