"""`nanoclaw backup` and `nanoclaw restore`"""

from pathlib import Path
from typing import Annotated

import typer

from nanoclaw import backup as archives
from nanoclaw.clock import SystemClock
from nanoclaw.config import Home
from nanoclaw.errors import HostError

_LOGINS_WARNING = """\
This archive holds logins. They work in one place only: if the home that they come from goes on being used, or was used
after the backup, restoring them can end both the ChatGPT login and the link to WhatsApp. Signing in and linking anew
after the restore is the safe way."""


def backup(
    context: typer.Context,
    archive: Annotated[Path | None, typer.Argument(help="Default: nanoclaw-<time>.tar.gz in this directory.")] = None,
    logins: Annotated[
        bool,
        typer.Option("--logins", help="With the ChatGPT logins and the keys of WhatsApp: for moving, not for keeping."),
    ] = False,
) -> None:
    """Write everything into one file, also while the host runs, and check it."""
    home: Home = context.obj
    if not home.root.is_dir():
        raise HostError(f"there is no home at {home.root}", "name it with --home")
    now = SystemClock().now()
    path = archive or Path(f"nanoclaw-{now:%Y%m%dT%H%M%SZ}.tar.gz")
    contents = archives.back_up(home, path, now, logins=logins, tell=print)
    print(f"{path}: {len(contents.files)} files, {path.stat().st_size / 1e6:.1f} MB, read back and right")
    print("It holds what people wrote, and the keys of .env: keep it as you keep those.")
    if logins:
        print(_LOGINS_WARNING)
    else:
        print("Logins (ChatGPT, WhatsApp) and groups' own keys are not in it: after a restore, sign in and link anew.")


def restore(
    context: typer.Context,
    archive: Annotated[Path, typer.Argument(help="What `nanoclaw backup` wrote.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Make a home from a backup; the home must not be there yet."""
    home: Home = context.obj
    contents = archives.verify(archive)
    print(f"{archive}: {len(contents.files)} files of {contents.created}, NanoClaw {contents.version}, undamaged")
    if contents.logins:
        print(_LOGINS_WARNING)
        if not (yes or typer.confirm("Restore it with its logins?")):
            print("Nothing was changed.")
            return
    archives.restore(archive, home, SystemClock().now(), print)
    print(f"Restored to {home.root}. `nanoclaw doctor` says what is still to be done.")
