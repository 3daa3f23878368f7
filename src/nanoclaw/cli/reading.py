"""What commands read without a host: the database, as it is."""

from collections.abc import Generator
from contextlib import contextmanager

from nanoclaw.clock import SystemClock
from nanoclaw.config import Home
from nanoclaw.errors import StoreError
from nanoclaw.store.database import Connection, connect


@contextmanager
def database(home: Home) -> Generator[Connection]:
    """The home's database, for as long as the context lasts. Safe beside a running host.

    Raises:
        StoreError: there is none yet, or it cannot be opened.
    """
    if not home.database.exists():
        raise StoreError(f"there is no database in {home.root} yet", "start the host once: `nanoclaw up`")
    connection = connect(home.database, SystemClock().now())
    try:
        yield connection
    finally:
        connection.close()
