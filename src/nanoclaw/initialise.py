"""Making a home: directories, settings, secrets file, memory files, and the group `main`."""

import os
from pathlib import Path
from typing import Final

from nanoclaw.clock import SystemClock, iso
from nanoclaw.config import Home, Settings
from nanoclaw.groups import Entries, change_groups, new_entry
from nanoclaw.model import MAIN_FOLDER
from nanoclaw.sandbox.mounts import agent_owner

_SETTINGS: Final = """\
# Settings of NanoClaw. Every key has a default; what is commented out shows it. docs/running.md explains each.

# assistant_name = "Andy"       # the trigger of a new group is @ and this name
# timezone = ""                 # IANA name, e.g. "Europe/Berlin"; empty: this machine's own
# log_level = "info"

[sandbox]
# engine = "auto"               # auto | podman | docker | container | bubblewrap
# memory = "2g"
# cpus = 2.0
# pids = 512

[runs]
# max_concurrent = 5
# timeout_seconds = 1800.0
# shutdown_grace_seconds = 20.0
"""

_ENV: Final = """\
# Secrets; `nanoclaw auth login` writes them. Only these names are read; an edit counts from the next message on.
# ANTHROPIC_API_KEY=
# CLAUDE_CODE_OAUTH_TOKEN=
# OPENAI_API_KEY=
# A gateway or a local model instead of the provider's own server:
# ANTHROPIC_BASE_URL=
# OPENAI_BASE_URL=
"""

GLOBAL_MEMORY: Final = """\
# What every group's assistant knows

Facts and rules that hold in all groups. The assistant of `main` may change this file; the others read it.
"""

GROUP_MEMORY: Final = """\
# Memory of this group

Facts worth keeping about this group and its people. The assistant reads this file at every run and may change it.
"""


def initialise(home: Home) -> bool:
    """Make whatever of the home is missing; nothing that is there is changed. Answers whether `main` is new."""
    for directory in (home.root, home.groups, home.groups / "global", home.data, home.run, home.logs):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_new(home.settings, _SETTINGS, 0o644)
    _write_new(home.env, _ENV, 0o600)
    _write_new(home.groups / "global" / "CLAUDE.md", GLOBAL_MEMORY, 0o644, for_agents=True)
    older_place = home.groups / "CLAUDE.md"
    if not older_place.exists() and not older_place.is_symlink():
        older_place.symlink_to("global/CLAUDE.md")
    return _register_main(home)


def _register_main(home: Home) -> bool:
    new = False

    def register(entries: Entries) -> None:
        nonlocal new
        new = all(entry.get("folder") != MAIN_FOLDER for entry in entries.values())
        if new:
            entries["local:main"] = new_entry(
                "Main", MAIN_FOLDER, f"@{Settings().assistant_name}", iso(SystemClock().now())
            )

    change_groups(home.registered_groups, register)
    make_group_directory(home, MAIN_FOLDER)
    return new


def make_group_directory(home: Home, folder: str) -> None:
    """The group's directory with a first `CLAUDE.md`; one that is there is left alone."""
    home.groups.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        (home.groups / folder).mkdir(mode=0o700)
    except FileExistsError:
        return  # an agent may have rearranged it: nothing is written there from now on
    _write_new(home.groups / folder / "CLAUDE.md", GROUP_MEMORY, 0o644, for_agents=True)


def _write_new(path: Path, text: str, mode: int, *, for_agents: bool = False) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except FileExistsError:
        return
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        if for_agents:
            os.fchown(handle, *agent_owner())
