"""What `nanoclaw status` tells where no host runs."""

from typing import Any

from nanoclaw.cli.reading import database
from nanoclaw.clock import SystemClock
from nanoclaw.config import Home
from nanoclaw.groups import load_groups
from nanoclaw.lives import stopped_itself
from nanoclaw.status import groups_status, proofs_status, stored_status


def status_without_host(home: Home) -> dict[str, Any]:
    """As the host would have it, from what is stored. Raises `StoreError`: there is no database yet."""
    with database(home) as db:
        stored = stored_status(db)
    return {
        "host": {
            "running": False,
            "pid": None,
            "version": None,
            "since": None,
            "root": None,
            "problem": stopped_itself(home, SystemClock().now()) or None,
        },
        **stored,
        "sandbox": {
            "name": None,
            "lacks": [],
            "problem": None,
            "warning": None,
            "proofs": proofs_status(home, load_groups(home.registered_groups)),
        },
        "groups": groups_status(load_groups(home.registered_groups)),
        "channels": [],
        "network": {},
        "groups_problem": None,
        "page": {"port": None, "problem": None},
    }
