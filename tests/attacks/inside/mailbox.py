"""Tricks with mailbox files. Each is put, and then its answer is awaited: what the host made of it."""

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .attempt import ALONE, Lab, attempt

_IPC = Path("/workspace/ipc")
_REFUSED = ("refused",)
_ANSWER_SECONDS = 60.0


def answer_of(name: str, seconds: float = _ANSWER_SECONDS) -> str:
    """`refused`, `applied`, or that nothing was said."""
    path = _IPC / "results" / name
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            return "applied" if json.loads(path.read_text(encoding="utf-8"))["ok"] else "refused"
        except (OSError, ValueError):
            time.sleep(0.02)
    return "no answer"


def put(content: bytes | dict[str, object], inbox: str = "messages", name: str = "") -> str:
    """Write a file as an agent does, and await its answer."""
    name = name or f"a{os.getpid()}-{time.monotonic_ns()}.json"
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    temporary = _IPC / inbox / f".{name}.tmp"
    temporary.write_bytes(data)
    temporary.rename(_IPC / inbox / name)
    return answer_of(name)


def _file(
    title: str, content: Callable[[Lab], bytes | dict[str, object]], *expected: str, inbox: str = "tasks"
) -> None:
    @attempt("mailbox", title, *(expected or _REFUSED))
    def _(lab: Lab) -> str:
        return put(content(lab), inbox)


def _message(**fields: object) -> dict[str, object]:
    return {"type": "message", "text": "attack by mailbox", **fields}


def _task(**fields: object) -> dict[str, object]:
    when = {"schedule_type": "once", "schedule_value": "2035-01-01T00:00:00"}
    return {"type": "schedule_task", "prompt": "attack by task", **when, **fields}


_file("a message into another chat", lambda lab: _message(chatJid=lab["other jid"]), inbox="messages")
_file("a message into the owner's chat", lambda lab: _message(chatJid=lab["main jid"]), inbox="messages")
_file(
    "a message into another chat, claiming to be main",
    lambda lab: _message(chatJid=lab["other jid"], isMain=True, groupFolder="main", createdBy="main"),
    inbox="messages",
)
_file("a message into a chat that is not registered", lambda _: _message(chatJid="local:nobody"), inbox="messages")
_file("a message with an address of control characters", lambda _: _message(chatJid="local:\x1b[2J"))
_file("a task for another group", lambda lab: _task(target_group=lab["other folder"]))
_file("a task for another group by its address", lambda lab: _task(targetJid=lab["other jid"]))
_file("cancel another group's task", lambda lab: {"type": "cancel_task", "taskId": lab["other task"]})
_file("run another group's task", lambda lab: {"type": "run_task", "taskId": lab["other task"]})
_file("change another group's task", lambda lab: {"type": "update_task", "taskId": lab["other task"], "prompt": "x"})
_file("pause another group's task", lambda lab: {"type": "pause_task", "taskId": lab["other task"]})
_file(
    "register a group",
    lambda _: {"type": "register_group", "jid": "local:attack", "name": "A", "folder": "attack", "trigger": "@A"},
)
_file(
    "register a group whose folder leaves the home",
    lambda _: {"type": "register_group", "jid": "local:a", "name": "A", "folder": "../../etc", "trigger": "@A"},
)
_file(
    "give itself the host's root as a mount",
    lambda lab: {
        "type": "update_group",
        "folder": lab["folder"],
        "containerConfig": {"additionalMounts": [{"hostPath": "/", "containerPath": "root", "readonly": False}]},
    },
)
_file(
    "give itself the level full",
    lambda lab: {
        "type": "update_group",
        "folder": lab["folder"],
        "providerConfig": {"codex": {"approvalPolicy": "full"}},
    },
)
_file("give itself an open network", lambda lab: {"type": "update_group", "folder": lab["folder"], "network": "open"})
_file("allow itself a host", lambda lab: {"type": "network_allow", "folder": lab["folder"], "host": "example.com"})
_file("unregister another group", lambda lab: {"type": "unregister_group", "folder": lab["other folder"]})
_file("unregister main", lambda _: {"type": "unregister_group", "folder": "main"})
_file("an unknown verb", lambda _: {"type": "__class__"})
_file("a verb that is no text", lambda _: {"type": ["message"]})
for _title, _content in {
    "nothing at all": b"",
    "a list in place of an object": b'[{"type":"message","text":"x"}]',
    "nesting a hundred thousand deep": b"[" * 100_000,
    "an object nested fifty thousand deep": b'{"a":' * 50_000,
    "a number of a million digits": b'{"type":"message","text":"x","n":' + b"9" * 1_000_000 + b"}",
    "NaN": b'{"type":"message","text":NaN}',
    "infinity": b'{"type":"message","text":"x","n":1e999}',
    "bytes that are no UTF-8": b'{"type":"message","text":"\xff\xfe"}',
    "half a surrogate pair": b'{"type":"message","text":"\\ud800"}',
    "a key twice": b'{"type":"message","type":"register_group","text":"x"}',
    "UTF-16": '{"type":"message","text":"x"}'.encode("utf-16"),
    "zero bytes": b"\0" * 4096,
    "a text that is no text": b'{"type":"message","text":{"a":1}}',
    "a text of a megabyte": b'{"type":"message","text":"' + b"x" * 1_000_000 + b'"}',
    "three megabytes": b'{"type":"message","text":"' + b"x" * 3_000_000 + b'"}',
}.items():
    _file(f"a file of {_title}", lambda _, content=_content: content, inbox="messages")


def _placed(title: str, make: Callable[[Path, Lab], object], *expected: str) -> None:
    @attempt("mailbox", f"{title} as x.json", *(expected or _REFUSED))
    def _(lab: Lab) -> str:
        name = f"p{os.getpid()}.json"
        make(_IPC / "messages" / name, lab)
        return answer_of(name)


_placed("a link to the host's users", lambda path, _: path.symlink_to("/etc/passwd"))
_placed("a link to the host's .env", lambda path, lab: path.symlink_to(lab["hidden"]["env"]))
_placed("a link to another group's mailbox file", lambda path, lab: path.symlink_to(lab["hidden"]["other mailbox"]))
_placed("a link to itself", lambda path, _: path.symlink_to(path.name))
_placed("a link into what the host claimed", lambda path, _: path.symlink_to("../claimed"))
_placed("a link to /dev/zero", lambda path, _: path.symlink_to("/dev/zero"))
_placed("a pipe", lambda path, _: os.mkfifo(path))
_placed("a directory", lambda path, _: path.mkdir())
_placed(
    "a directory that cannot be entered",
    lambda path, _: (path.mkdir(), (path / "a").touch(), path.chmod(0)),
    "refused",
    "ENOENT",
)
_placed(
    "a directory a hundred deep",
    lambda path, _: (path / "/".join(["d"] * 100)).mkdir(parents=True),
    "refused",
    "ENOENT",
)
_placed("a socket", lambda path, _: socket.socket(socket.AF_UNIX).bind(str(path)))
_placed(
    "a sparse terabyte",
    lambda path, _: (path.touch(), os.truncate(path, 1 << 40)),
    *("refused", "EFBIG", "ENOENT"),  # the last: the host has taken the empty file away already
)
_placed("a device", lambda path, _: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5)), "EPERM", "EACCES")
_placed("a file with a second link", lambda path, _: _linked(path))
_placed("a file that nobody may read", lambda path, _: _unreadable(path))


def _linked(path: Path) -> None:
    other = path.with_name(f".{path.name}.other")
    other.write_text('{"type":"message","text":"attack by link"}', encoding="utf-8")
    os.link(other, path)


def _unreadable(path: Path) -> None:
    other = path.with_name(f".{path.name}.other")
    other.write_text('{"type":"message"}', encoding="utf-8")
    other.chmod(0)
    other.rename(path)


def _named(title: str, name: bytes) -> None:
    @attempt("mailbox", f"a file called {title}", "no effect")
    def _(_: Lab) -> str:
        path = os.path.join(b"/workspace/ipc/messages", name)
        with open(path, "wb") as file:
            file.write(b'{"type":"message","text":"attack by name"}')
        time.sleep(0.5)
        return "no effect"  # the host's side looks whether anything was said


_named("with a line break", b"x\nlevel=error msg=forged.json")
_named("with a terminal sequence", b"\x1b]0;owned\x07\x1b[2J.json")
_named("in bytes that are no text", b"\xff\xfe\x80.json")
_named("with 250 letters", b"n" * 250 + b".json")
_named("with dots", b"..json")
_named("like an option", b"-rf.json")


@attempt("mailbox", "swap file and link while the host reads", "no effect", phase=ALONE)
def _(lab: Lab) -> str:
    stop = time.monotonic() + 1.0
    good, evil = _IPC / "messages/.good", _IPC / "messages/.evil"
    path = _IPC / "messages/race.json"

    def swap() -> None:
        while time.monotonic() < stop:
            for source in (good, evil):
                try:
                    if source is good:
                        good.write_text('{"type":"message"}', encoding="utf-8")
                    else:
                        evil.symlink_to(lab["hidden"]["other mailbox"])
                    source.rename(path)
                except OSError:
                    continue

    threads = [threading.Thread(target=swap) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "no effect"


@attempt("mailbox", "lock the host out of its inbox", "refused", phase=ALONE)
def _(_: Lab) -> str:
    os.chmod(_IPC / "tasks", 0)
    time.sleep(1.5)
    os.chmod(_IPC / "tasks", 0o755)
    return put({"type": "nothing"}, "tasks")


@attempt("mailbox", "replace an inbox by a link", "EBUSY", "EROFS", "EACCES", "EPERM", "ENOTEMPTY")
def _(_: Lab) -> str:
    os.rename("/workspace/ipc/messages", "/workspace/ipc/old")
    os.symlink("/etc", "/workspace/ipc/messages")
    return "it was replaced"
