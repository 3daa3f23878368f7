"""The defences that are taken away, each with the attempts that must succeed then."""

import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from nanoclaw import events, formatting, verbs
from nanoclaw.errors import WireError
from nanoclaw.gateway import Bounds, conversation, decision, server
from nanoclaw.gateway.network import Network, Resolve, system_resolve
from nanoclaw.gateway.policy import Policy
from nanoclaw.ipc import files, handles
from nanoclaw.ipc.authority import Permit
from nanoclaw.sandbox import mounts
from nanoclaw.sandbox.disk import Disk
from tests.attacks import operation, terminal
from tests.attacks.campaign import Campaign
from tests.attacks.inside.attempt import ALONE, BOMB, QUIET
from tests.attacks.sabotage import (
    Defence,
    both,
    changed,
    replaced,
    with_options,
    without,
    without_option,
)


def anything(*_: object, **__: object) -> bool:
    """Whatever it is, it may pass."""
    return True


def _open(*_: object) -> str:
    return "open"


def _claim(*_: object, **__: object) -> str:
    return "claim"


def _permit(*_: object, **__: object) -> Permit:
    return Permit(())


def _any_address() -> AbstractContextManager[None]:
    real = Network.__init__

    def init(self: Network, resolve: Resolve = system_resolve, **_: object) -> None:
        real(self, resolve, anything, anything)

    return replaced(Network, __init__=init)


def _any_port() -> AbstractContextManager[None]:
    return replaced(Policy, reach=_open)


@contextmanager
def _any_file() -> Generator[None]:
    def read(parent: int, name: str, most: int) -> bytes:
        return Path(f"/proc/self/fd/{parent}", name).read_bytes()[:most]

    with replaced(handles, read_regular=read), replaced(files, judge=_claim):
        yield


def _any_amount() -> AbstractContextManager[None]:
    async def is_full(*_: object) -> bool:
        return False

    async def until_full(*_: object) -> None:
        await anyio.sleep_forever()

    return replaced(Disk, is_full=is_full, until_full=until_full)


@contextmanager
def _any_source() -> Generator[None]:
    def make(base: Path, path: Path, **_: object) -> int:
        path.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    # what measures a group's disk does not follow links either
    with replaced(mounts, _make=make), _any_amount():
        yield


def _as_root(argv: list[str], _: Path) -> list[str]:
    """bubblewrap without the step that gives root up."""
    steps = [number for number, word in enumerate(argv) if word.endswith("setpriv")]
    return argv[: steps[0]] + argv[argv.index("--", steps[0]) + 1 :] if steps else argv


def _without_prlimit(argv: list[str], _: Path) -> list[str]:
    steps = [number for number, word in enumerate(argv) if word.endswith("prlimit")]
    return argv[: steps[0]] + argv[argv.index("--", steps[0]) + 1 :] if steps else argv


async def _with_credential(attacked: Campaign) -> None:
    await attacked.phase(QUIET, ("its own credential in place of the host's",))
    operation.model_server(attacked)


def _writable(argv: list[str], target: str) -> list[str]:
    """bubblewrap's mount at `target`, to write."""
    place = argv.index(target)
    return [*argv[: place - 2], "--bind", *argv[place - 1 :]]


def _without_groups(argv: list[str], _: Path) -> list[str]:
    return argv[next(number for number, word in enumerate(argv) if word.endswith("bwrap")) :]


def _without_limits(argv: list[str], _: Path) -> list[str]:
    """Without control groups, and without prlimit."""
    return _without_prlimit(_without_groups(argv, _), _)


def _as_if_done(line: bytes, parse: Callable[[bytes], events.Event] = events.parse_event) -> events.Event:
    try:
        return parse(line)
    except WireError:
        return events.Done(None)


DEFENCES: Final = (
    Defence(
        name="the list of system calls",
        attempts=(
            "unshare: a user namespace of its own",
            "keyctl: the session's keyring",
            "io_uring_setup",
            "clone: into a new user namespace",
        ),
        edits={
            "podman": both(
                without_option("--security-opt", "seccomp="),
                with_options("podman", "--security-opt", "seccomp=unconfined"),
            ),
            "bubblewrap": without_option("--seccomp"),
        },
    ),
    Defence(
        name="our own list, in place of the engine's",
        attempts=("unshare: a user namespace of its own", "keyctl: the session's keyring"),
        edits={"podman": without_option("--security-opt", "seccomp=")},
    ),
    Defence(
        name="no new privileges",
        attempts=("the signs of confinement in /proc/self/status", "root by a set-uid program of the image"),
        edits={"podman": without("--security-opt", "no-new-privileges")},
    ),
    Defence(
        name="an ordinary user inside",
        attempts=("setuid to root", "the signs of confinement in /proc/self/status"),
        edits={"bubblewrap": both(without("--cap-drop", "ALL"), _as_root)},
    ),
    Defence(
        name="no capabilities",
        attempts=("the signs of confinement in /proc/self/status", "chown of its own file to root", "setuid to root"),
        edits={"podman": both(without("--cap-drop", "ALL"), changed("1000:1000", "0:0"))},
    ),
    Defence(
        name="no network",
        attempts=("a service of the host on its loopback", "an abstract socket of the host"),
        edits={
            "podman": both(without("--network", "none"), with_options("podman", "--network", "host")),
            "bubblewrap": without("--unshare-net"),
        },
    ),
    Defence(
        name="processes of its own",
        attempts=("processes of the host",),
        edits={"podman": with_options("podman", "--pid", "host"), "bubblewrap": without("--unshare-pid")},
    ),
    Defence(
        name="a root that is read-only",
        attempts=("write /home/node/.bashrc", "write /attack"),
        edits={
            "podman": without("--read-only"),
            "bubblewrap": both(without("--remount-ro", "/"), without("--cap-drop", "ALL"), _as_root),
        },
    ),
    Defence(
        name="nothing of the host mounted but the group's",
        attempts=("a file beside the host's home, by its path", "a unix socket beside the host's home"),
        edits={
            "podman": with_options("podman", "--mount", "type=bind,src={directory},dst={directory}"),
            "bubblewrap": with_options("bubblewrap", "--bind", "{directory}", "{directory}"),
        },
    ),
    Defence(
        name="memory that all groups share is read-only",
        attempts=("a new file among what all groups read",),
        edits={
            "podman": changed("dst=/workspace/global,readonly,bind-nonrecursive", "dst=/workspace/global"),
            "bubblewrap": lambda argv, _: _writable(argv, "/workspace/global"),
        },
    ),
    Defence(
        name="a limit on processes",
        attempts=("processes without end",),
        edits={"podman": without_option("--pids-limit"), "bubblewrap": _without_limits},
        phase=BOMB,
    ),
    Defence(
        name="a limit on memory",
        attempts=("memory without end",),
        edits={"podman": both(without_option("--memory"), without_option("--memory-swap"))},
        phase=BOMB,
    ),
    Defence(
        name="control groups, where the sandbox does not show them",
        attempts=("memory without end",),
        edits={"bubblewrap": _without_groups},
        phase=BOMB,
        proven=False,
    ),
    Defence(
        name="a limit on a file's size",
        attempts=("one file larger than all that its group may keep",),
        edits={"podman": without_option("--ulimit", "fsize"), "bubblewrap": _without_prlimit},
        phase=BOMB,
    ),
    Defence(
        name="a limit on open files",
        attempts=("descriptors without end",),
        edits={
            "podman": both(
                without_option("--ulimit", "nofile"), with_options("podman", "--ulimit", "nofile=20000:20000")
            ),
            "bubblewrap": _without_prlimit,
        },
        phase=BOMB,
    ),
    Defence(
        name="a limit on /tmp",
        attempts=("fill /tmp",),
        edits={
            "podman": changed(f"size={512 << 20},", f"size={800 << 20},"),
            "bubblewrap": lambda argv, _: [str(800 << 20) if word == str(512 << 20) else word for word in argv],
        },
        phase=BOMB,
    ),
    Defence(
        name="watching what a group keeps on the disk",
        attempts=("the group's directory filled beyond its share", "another run on a disk that is full"),
        replaced=_any_amount,
        step=operation.fill,
        proven=False,
    ),
    Defence(
        name="ending a connection with a request that is malformed",
        attempts=(
            "a request behind one whose end is a matter of opinion: Content-Length: 5, Transfer-Encoding: chunked",
        ),
        replaced=lambda: replaced(conversation, _LAST=frozenset()),
        proven=False,
    ),
    Defence(
        name="a number of connections",
        attempts=("more connections than allowed, each with half a head",),
        replaced=lambda: replaced(server, Bounds=partial(Bounds, connections=1000)),
        phase=ALONE,
        proven=False,
    ),
    Defence(
        name="believing a runner's events only in their shape",
        attempts=("JSON that is no event", "a line that is no JSON"),
        replaced=lambda: replaced(events, parse_event=_as_if_done),
        step=operation.speak,
        proven=False,
    ),
    Defence(
        name="looking at the address",
        attempts=("CONNECT loop.test, a name for the host's loopback", "CONNECT TRAP-ADDRESS:443"),
        replaced=_any_address,
        proven=False,
    ),
    Defence(
        name="the group's policy",
        attempts=("CONNECT example.com:22", "CONNECT example.com:25"),
        replaced=_any_port,
        proven=False,
    ),
    Defence(
        name="the methods that a provider may be asked with",
        attempts=("TRACE, which would show the key",),
        replaced=lambda: replaced(decision, _METHODS=frozenset((b"TRACE", b"GET", b"POST"))),
        proven=False,
    ),
    Defence(
        name="reading mailbox files without following links",
        attempts=("a link to another group's mailbox file as x.json",),
        replaced=_any_file,
        proven=False,
    ),
    Defence(
        name="mounting nothing that a link leads to",
        attempts=("a run with a link in place of /workspace/group", "a run with a link in place of /home/node/.codex"),
        replaced=_any_source,
        step=operation.swap_sources,
        proven=False,
    ),
    Defence(
        name="control characters taken out of what is shown",
        attempts=("terminal sequences in an agent's reply",),
        replaced=lambda: replaced(formatting, printable=str),
        step=terminal.paint,
        proven=False,
    ),
    Defence(
        name="the agent's own credential dropped",
        attempts=("no credential of the attacker's was passed on",),
        replaced=lambda: replaced(decision, _CREDENTIALS=frozenset()),
        step=_with_credential,
        proven=False,
    ),
    Defence(
        name="authority by the directory",
        attempts=("a message into another chat", "register a group", "cancel another group's task"),
        replaced=lambda: replaced(verbs, authorise=_permit),
        proven=False,
    ),
)
