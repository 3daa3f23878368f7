"""A message without a host: into the database, where the next host finds it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from nanoclaw import media
from nanoclaw.channels.local import local_file, local_message
from nanoclaw.clock import SystemClock
from nanoclaw.config import Home, load_settings
from nanoclaw.errors import UsageError
from nanoclaw.formatting import printable
from nanoclaw.intake import take_in
from nanoclaw.lock import only_writer
from nanoclaw.model import RegisteredGroup
from nanoclaw.store.database import connect, transaction


def store_directly(
    home: Home, group: RegisteredGroup, sender: str, text: str, ext_id: str, files: Sequence[Path]
) -> int:
    """Store what somebody says in a local chat; answers its seq.

    Raises:
        HostError: a host holds the database.
        UsageError: nothing is said.
    """
    if not printable(text).strip() and not files:
        raise UsageError("the message is empty")
    with only_writer(home):
        clock = SystemClock()
        connection = connect(home.database, clock.now())
        try:
            attachments = tuple(local_file(file, file.name) for file in files)
            message = local_message(group.jid, sender, printable(text), clock, ext_id, attachments)
            kept = media.keep(home.media(group.folder), message) if attachments else ()
            with transaction(connection):
                stored = take_in(connection, message, group, clock.now(), load_settings(home).owners, kept)
        finally:
            connection.close()
    assert stored is not None
    print("nanoclaw: no host is running; the message is stored for its next start", file=sys.stderr)
    return stored.seq
