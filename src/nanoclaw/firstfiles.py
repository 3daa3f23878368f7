"""What a group begins with, however it was registered."""

import os
from pathlib import Path
from typing import Final

from nanoclaw.config import Home
from nanoclaw.errors import HostError
from nanoclaw.sandbox.mounts import agent_owner

GROUP_MEMORY: Final = """\
# Memory of this group

Facts worth keeping about this group and its people. The assistant reads this file at every run and may change it.
"""


def make_group_directory(home: Home, folder: str) -> None:
    """The group's directory with a first `CLAUDE.md`; one that is there is left alone.

    Raises:
        HostError: it cannot be made.
    """
    directory = home.groups / folder
    try:
        home.groups.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(mode=0o700)
        write_new(directory / "CLAUDE.md", GROUP_MEMORY, 0o644, for_agents=True)
    except FileExistsError:
        return  # an agent may have rearranged it: nothing is written there from now on
    except OSError as error:
        raise HostError(f"{directory} cannot be made: {error.strerror}", "check the disk, and who owns it") from error


def write_new(path: Path, text: str, mode: int, *, for_agents: bool = False) -> None:
    """Write a file that is not there yet; one that is stays. `for_agents`: it is theirs to change."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except FileExistsError:
        return
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        if for_agents:
            os.fchown(handle, *agent_owner())
