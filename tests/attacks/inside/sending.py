"""Having the host send files that are not the agent's to send."""

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .attempt import ALONE, Lab, attempt
from .mailbox import put

_PLACE = Path("/workspace/group/sent")


def _send(path: str) -> str:
    return put({"type": "message", "text": "attack by file", "files": [path]})


def _sent(title: str, path: Callable[[Lab], str], *expected: str) -> None:
    @attempt("sending files", title, *(expected or ("refused",)))
    def _(lab: Lab) -> str:
        _PLACE.mkdir(exist_ok=True)
        return _send(path(lab))


def _link(to: str) -> str:
    path = _PLACE / f"link-{os.getpid()}"
    path.symlink_to(to)
    return str(path)


def _pipe() -> str:
    path = _PLACE / f"pipe-{os.getpid()}"
    os.mkfifo(path)
    return str(path)


def _twice() -> str:
    path = _PLACE / f"twice-{os.getpid()}"
    path.write_text("x", encoding="ascii")
    os.link(path, f"{path}-other")
    return str(path)


def _huge() -> str:
    path = _PLACE / f"huge-{os.getpid()}"
    path.touch()
    with suppress(OSError):
        os.truncate(path, 1 << 40)
        return str(path)
    os.truncate(path, 1 << 30)
    return str(path)


_sent("the host's users by their path", lambda _: "/etc/passwd")
_sent("the host's .env by its path", lambda lab: lab["hidden"]["env"])
_sent("another group's file by dots", lambda lab: f"/workspace/group/../{lab['other folder']}/diary.md")
_sent(
    "another group's file by dots behind a name", lambda lab: f"/workspace/group/a/../../{lab['other folder']}/diary.md"
)
_sent("the host's .env by dots", lambda _: "/workspace/media/../../../.env")
_sent("another group's file by a link", lambda lab: _link(lab["hidden"]["other file"]))
_sent(
    "another group's file by a link among directories",
    lambda lab: _link(str(Path(lab["hidden"]["other file"]).parent)) + "/diary.md",
)
_sent("the runner's environment by a link", lambda _: _link("/proc/1/environ"))
_sent("the host's devices by a link", lambda _: _link("/dev/zero"))
_sent("a pipe", lambda _: _pipe())
_sent("a directory", lambda _: "/workspace/group/inside")
_sent("the directory itself", lambda _: "/workspace/group/")
_sent("a file with a second link", lambda _: _twice())
_sent("a sparse terabyte", lambda _: _huge())
_sent("a path with a zero byte", lambda _: "/workspace/group/a\0b")
_sent("a path with a terminal sequence", lambda _: "/workspace/group/\x1b[2J")
_sent("a path of a thousand steps", lambda _: "/workspace/group/" + "a/" * 1000 + "b")
_sent("a name of ten thousand letters", lambda _: "/workspace/group/" + "n" * 10_000)
_sent("another sandbox's mailbox", lambda _: "/workspace/ipc/current_tasks.json")
_sent("its own login, which the host gave it", lambda _: "/home/node/.codex/auth.json")


@attempt("sending files", "a file that a thousand directories lie around", "refused", "applied", phase=ALONE)
def _(_lab: Lab) -> str:
    os.makedirs(_PLACE, exist_ok=True)
    handle = os.open(_PLACE, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(1500):
        with suppress(FileExistsError):
            os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=handle))
    answer = _send(f"{_PLACE}/{'d/' * 1500}file")
    os.close(handle)
    subprocess.run(["rm", "-rf", f"{_PLACE}/d"], check=True)
    return answer


@attempt("sending files", "swap file and link while the host copies", "no effect", phase=ALONE)
def _(lab: Lab) -> str:
    path, good = _PLACE / "race", _PLACE / "good"
    for number in range(100):
        good.write_text("harmless", encoding="ascii")
        good.replace(path)
        if number % 5 == 0:
            temporary = Path("/workspace/ipc/messages/.race.tmp")
            temporary.write_text(f'{{"type":"message","text":"race","files":["{path}"]}}', encoding="utf-8")
            temporary.rename(f"/workspace/ipc/messages/race-{number}.json")
        with suppress(FileExistsError, FileNotFoundError):
            evil = _PLACE / f"evil-{number}"
            evil.symlink_to(lab["hidden"]["other file"])
            evil.replace(path)
    return "no effect"  # the host's side looks at what was copied
