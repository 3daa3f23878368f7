"""Making a home: directories, settings, secrets file, memory files, and the group `main`."""

from typing import Final

from nanoclaw.clock import SystemClock, iso
from nanoclaw.config import Home, Settings
from nanoclaw.firstfiles import make_group_directory, write_new
from nanoclaw.groups import Entries, change_groups, new_entry
from nanoclaw.model import MAIN_FOLDER

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


def initialise(home: Home) -> bool:
    """Make whatever of the home is missing; nothing that is there is changed. Answers whether `main` is new."""
    for directory in (home.root, home.groups, home.groups / "global", home.data, home.run, home.logs):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_new(home.settings, _SETTINGS, 0o644)
    write_new(home.env, _ENV, 0o600)
    write_new(home.groups / "global" / "CLAUDE.md", GLOBAL_MEMORY, 0o644, for_agents=True)
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
