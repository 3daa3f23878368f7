"""A process that does nothing but tick, for tests that kill it: `python ticker.py DATABASE`."""

import sys
import time
from pathlib import Path

from nanoclaw.clock import SystemClock
from nanoclaw.model import Folder, Jid
from nanoclaw.scheduler import tick
from nanoclaw.store.database import connect, transaction


def main() -> None:
    """Tick until killed."""
    clock = SystemClock()
    db = connect(Path(sys.argv[1]), clock.now())
    while True:
        with transaction(db):
            tick(db, clock.now(), {Folder("main"): Jid("local:main")})
        time.sleep(0.02)


main()
