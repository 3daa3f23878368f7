"""The command line: thin. It parses, asks the running host or reads the database, and renders.

Exit codes: 0 fine · 1 unexpected · 2 wrong use or wrong file · 3 no answer in time · 4 host not there, or there
already · 5 database · 6 sandbox · 7 not signed in · 8 backup.
"""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from nanoclaw import __version__
from nanoclaw.cli.lazy import lazy_group
from nanoclaw.errors import NanoclawError, leaves

COMMANDS: Final = {
    "setup": "setup:setup",
    "init": "init:init",
    "run": "hosting:run",
    "up": "hosting:up",
    "status": "status:status",
    "doctor": "doctor:doctor",
    "send": "talk:send",
    "chat": "talk:chat",
    "read": "read:read",
    "page": "page:page",
    "logs": "logs:logs",
    "usage": "usage:usage",
    "audit": "audit:audit",
    "backup": "backup:backup",
    "restore": "backup:restore",
    "migrate": "migrate:migrate",
    "selftest": "hosting:selftest",
    "groups": "groups:app",
    "auth": "auth:app",
    "runs": "runs:app",
    "tasks": "tasks:app",
    "network": "network:app",
    "image": "image:app",
    "service": "service:app",
}
"""Every command, in the order in which they are listed, and where it is."""

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    help="A personal assistant that lives in chat groups; each group's agent runs in a sandbox of its own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nanoclaw {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    home: Annotated[
        Path | None, typer.Option(help="The runtime directory; default: $NANOCLAW_HOME, else ~/nanoclaw.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Where every command finds its home."""
    from nanoclaw.config import find_home  # not for the version

    context.obj = find_home(home)


def main() -> None:
    """Entry point: every error of ours is two lines on stderr, what is wrong and what to do."""
    try:
        app()
    except (NanoclawError, BaseExceptionGroup) as error:
        ours = [leaf for leaf in leaves(error) if isinstance(leaf, NanoclawError)]
        if len(ours) < len(leaves(error)):
            raise  # a bug: let it be seen whole
        for leaf in ours:
            complain(leaf)
        sys.exit(ours[0].exit_code)


def complain(error: NanoclawError) -> None:
    """What is wrong, and what to do about it."""
    print(f"nanoclaw: {error}", file=sys.stderr)
    if error.hint:
        print(f"  → {error.hint}", file=sys.stderr)
