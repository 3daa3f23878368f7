"""Where the attacks are made from: which kinds of sandbox are here, and the host as an ordinary user's."""

import itertools
import os
import pwd
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from nanoclaw.config import SandboxSettings, user_data_directory
from nanoclaw.sandbox import SANDBOXES

_CHECKOUT: Final = Path(__file__).parents[2]
_FIRST_UID: Final = 54321


@dataclass(frozen=True, slots=True)
class Ground:
    """One kind of sandbox under one kind of host."""

    title: str
    """As the table calls it."""
    engine: str
    """As the settings name it."""
    settings: str = ""
    """Lines of the table `[sandbox]`."""
    ordinary: bool = False
    """Whether the host is to be an ordinary user's though we are root."""
    missing: str = ""
    """Why it cannot be attacked here."""


def grounds() -> list[Ground]:
    """All of them; what cannot be attacked here says why."""
    found = [_engine("podman"), _engine("docker")]
    carried = 'way_out = "stdio"'
    found.append(Ground("podman, over stdio", "podman", settings=carried, missing=_missing("podman")))
    if os.geteuid() == 0:
        found.append(Ground("bubblewrap, host is root", "bubblewrap", missing=_missing("bubblewrap")))
        found.append(Ground("bubblewrap", "bubblewrap", ordinary=True, missing=_no_namespaces()))
    else:
        found.append(Ground("bubblewrap", "bubblewrap", missing=_missing("bubblewrap")))
    return found


def _engine(name: str) -> Ground:
    return Ground(name, name, missing=_missing(name))


def _missing(name: str) -> str:
    sandbox = SANDBOXES[name](SandboxSettings())
    health = anyio.run(sandbox.check)
    if not health.ok:
        return health.reason
    return "" if anyio.run(sandbox.is_built) else f"`nanoclaw image build --engine {name}` was not run"


def _no_namespaces() -> str:
    """Why an ordinary user cannot make sandboxes here; empty: one can."""
    uid = str(_unused_uid())
    tried = (
        "setpriv",
        "--reuid",
        uid,
        "--regid",
        uid,
        "--clear-groups",
        "bwrap",
        "--unshare-user",
        "--ro-bind",
        "/",
        "/",
    )
    done = subprocess.run((*tried, "true"), capture_output=True, text=True, check=False, cwd="/")
    return done.stderr.strip()[:200] if done.returncode else ""


def _unused_uid() -> int:
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    return next(uid for uid in itertools.count(_FIRST_UID) if uid not in taken)


@contextmanager
def ordinary_user(arguments: Iterable[str]) -> Generator[list[str]]:
    """The command line that runs this interpreter with `arguments` as a user that nobody is, who has a home of its own
    and sees this checkout, this interpreter and the toolkit even where they lie below a directory that is root's alone:
    in a mount namespace, so that nothing of that is left behind."""
    uid = _unused_uid()
    home = Path(tempfile.mkdtemp(prefix="nanoclaw-user-"))
    try:
        os.chown(home, uid, uid)
        needed = {Path(sys.base_prefix).resolve(), Path(sys.prefix), _CHECKOUT, user_data_directory() / "toolkit"}
        environment = {
            "HOME": str(home),
            "TMPDIR": str(home),
            "PATH": os.environ["PATH"],
            "XDG_DATA_HOME": str(user_data_directory().parent),
            **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
        }
        become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all", "--"]
        clean = ["env", "-i", *(f"{name}={value}" for name, value in environment.items())]
        command = shlex.join([*become, *clean, sys.executable, *arguments])
        script = "\n".join(("set -eu", *_uncover(needed), f"cd {shlex.quote(str(_CHECKOUT))}", f"exec {command}"))
        yield ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", script]
    finally:
        shutil.rmtree(home)


def _uncover(needed: Iterable[Path]) -> list[str]:
    """Shell commands, for a mount namespace, that make closed directories on the way to `needed` passable, with only
    what is needed in them."""
    closed: dict[Path, list[Path]] = {}
    for path in needed:
        for parent in reversed(path.parents):
            if not parent.stat().st_mode & 0o001:
                closed.setdefault(parent, []).append(path)
                break
    lines: list[str] = []
    for number, (parent, paths) in enumerate(closed.items()):
        stage = f"/tmp/.nanoclaw-stage-{os.getpid()}-{number}"
        lines += [f"mkdir {stage}", f"mount --rbind {parent} {stage}", f"mount -t tmpfs -o mode=0755 none {parent}"]
        for path in paths:
            inner = f"{stage}/{path.relative_to(parent)}"
            lines += [f"mkdir -p {path}", f"mount --rbind {inner} {path}"]
        lines += [f"umount -l {stage}", f"rmdir {stage}"]
    return lines
