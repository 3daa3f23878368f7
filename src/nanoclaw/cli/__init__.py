"""The command line: thin. It parses, asks the running host or reads the database, and renders.

Exit codes: 0 fine · 1 unexpected · 2 wrong use or wrong file · 3 no answer in time · 4 host not there, or there
already · 5 database · 6 sandbox · 7 not signed in · 8 backup.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nanoclaw import __version__
from nanoclaw.cli import (
    auth,
    backup,
    doctor,
    groups,
    hosting,
    image,
    logs,
    migrate,
    network,
    page,
    runs,
    service,
    setup,
    talk,
    tasks,
    usage,
)
from nanoclaw.config import find_home
from nanoclaw.errors import NanoclawError, leaves

app = typer.Typer(
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
    context.obj = find_home(home)


app.command("setup")(setup.setup)
app.command("init")(hosting.init)
app.command("run")(hosting.run)
app.command("up")(hosting.up)
app.command("status")(hosting.status)
app.command("doctor")(doctor.doctor)
app.command("send")(talk.send)
app.command("chat")(talk.chat)
app.command("page")(page.page)
app.command("logs")(logs.logs)
app.command("usage")(usage.usage)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("migrate")(migrate.migrate)
app.command("selftest")(hosting.selftest)
app.add_typer(groups.app, name="groups")
app.add_typer(auth.app, name="auth")
app.add_typer(runs.app, name="runs")
app.add_typer(tasks.app, name="tasks")
app.add_typer(network.app, name="network")
app.add_typer(image.app, name="image")
app.add_typer(service.app, name="service")


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
