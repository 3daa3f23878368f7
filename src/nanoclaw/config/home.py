"""Every place in the runtime directory."""

import hashlib
import os
import shlex
import stat
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nanoclaw.errors import ConfigError
from nanoclaw.model import Folder

USUAL_HOME: Final = Path("~/nanoclaw")
_LONGEST_SOCKET_PATH = 100  # sun_path holds 108 bytes on Linux and 104 on macOS


@dataclass(frozen=True, slots=True)
class Home:
    """The runtime directory and every place in it (DESIGN §5)."""

    root: Path

    @property
    def program(self) -> str:
        """How a person calls `nanoclaw` to mean this home, in a shell."""
        usual = self.root == USUAL_HOME.expanduser()
        return "nanoclaw" if usual else f"nanoclaw --home {shlex.quote(str(self.root))}"

    @property
    def settings(self) -> Path:
        """`nanoclaw.toml`"""
        return self.root / "nanoclaw.toml"

    @property
    def env(self) -> Path:
        """`.env`"""
        return self.root / ".env"

    @property
    def groups(self) -> Path:
        """`groups/`"""
        return self.root / "groups"

    @property
    def data(self) -> Path:
        """`data/`"""
        return self.root / "data"

    @property
    def registered_groups(self) -> Path:
        """`data/registered_groups.json`"""
        return self.data / "registered_groups.json"

    @property
    def mailboxes(self) -> Path:
        """`data/ipc/`, one mailbox a group."""
        return self.data / "ipc"

    @property
    def database(self) -> Path:
        """`store/nanoclaw.db`"""
        return self.root / "store" / "nanoclaw.db"

    @property
    def run(self) -> Path:
        """`run/`: locks, identity, sockets."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """`logs/`"""
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        """Held by whoever may write the database."""
        return self.run / "host.lock"

    @property
    def sockets(self) -> Path:
        """Where sockets lie: `run/`, or a private place with a short path when the home's is too long for a socket."""
        if len(os.fsencode(_group_directory(self.run, Folder("x")))) + len("/gateway.sock") <= _LONGEST_SOCKET_PATH:
            return self.run
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        short = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        return Path(short) / f"nanoclaw-{os.getuid()}-{digest}"

    @property
    def control_socket(self) -> Path:
        """The running host's control socket."""
        return self.sockets / "control.sock"

    @property
    def page_token(self) -> Path:
        """The secret in the page's address."""
        return self.run / "page-token"

    def gateway_directory(self, folder: Folder) -> Path:
        """Directory of one group's gateway socket; mounted read-only into its sandbox."""
        return _group_directory(self.sockets, folder)

    def media(self, folder: Folder) -> Path:
        """`data/media/<folder>/`: what people sent; read-only in the group's sandbox."""
        return self.data / "media" / folder

    @property
    def outgoing(self) -> Path:
        """`data/outgoing/`: the host's copies of files that agents send."""
        return self.data / "outgoing"

    @property
    def credentials(self) -> Path:
        """`credentials/`: logins and keys that the host owns; no sandbox mounts anything of it."""
        return self.root / "credentials"

    @property
    def whatsapp(self) -> Path:
        """`store/whatsapp/`: the session of the linked device and what came in and is not taken over yet."""
        return self.root / "store" / "whatsapp"

    def run_logs(self, folder: Folder) -> Path:
        """`logs/runs/<folder>/`"""
        return self.logs / "runs" / folder

    def installation(self) -> str:
        """Identity of this installation, made at first use: 12 hex digits."""
        path = self.run / "installation"
        try:
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            identity = uuid.uuid4().hex[:12]
            try:
                with path.open("x", encoding="ascii") as file:
                    file.write(identity + "\n")
            except FileExistsError:
                return path.read_text(encoding="ascii").strip()
            return identity


def _group_directory(sockets: Path, folder: Folder) -> Path:
    """Named by a digest, as a folder's name may be longer than a socket's path can take."""
    return sockets / "gateway" / hashlib.sha256(folder.encode()).hexdigest()[:16]


def make_private(path: Path) -> None:
    """Make a directory that only its owner can enter, or check that it is one.

    Raises:
        ConfigError: somebody else's directory, or a link, lies there.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise ConfigError(f"{path} is not a directory of yours", "remove it, or choose a home with a shorter path")
    path.chmod(0o700)


def find_home(option: Path | None) -> Home:
    """`--home`, else `NANOCLAW_HOME`, else `~/nanoclaw`."""
    chosen = option or Path(os.environ.get("NANOCLAW_HOME") or USUAL_HOME)
    return Home(chosen.expanduser().absolute())
