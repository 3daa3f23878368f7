"""`nanoclaw init`"""

import typer

from nanoclaw.config import Home
from nanoclaw.initialise import initialise


def init(context: typer.Context) -> None:
    """Make the runtime directory, with `main` registered on the local channel. What is there stays."""
    home: Home = context.obj
    new = initialise(home)
    print(f"{home.root}: {'ready, with the group main (local:main)' if new else 'was ready'}")
