"""What lies around the attacker: another group, secrets, services of the host. And whether any of it was touched."""

import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nanoclaw.model import Folder
from nanoclaw.sandbox.mounts import agent_owner
from nanoclaw.testing.world import World
from nanoclaw.wire import CHECKS, PROTOCOL

ATTACKER: Final = Folder("mallory")
NEIGHBOUR: Final = Folder("family")
_INSIDE: Final = Path(__file__).parent / "inside"


def token(kind: str) -> str:
    """A secret that nobody but its owner may see; `inside.reading` knows their shape."""
    return f"canary-{kind}-{secrets.token_hex(8)}"


@dataclass
class Tripwire:
    """Services of the host that nobody in a sandbox may reach; `touched` says which were."""

    port: int = 0
    abstract: str = field(default_factory=lambda: f"nanoclaw-attacks-{secrets.token_hex(6)}")
    path: Path = Path()
    address: str = field(default_factory=lambda: f"127.{secrets.randbelow(250) + 1}.{secrets.randbelow(250) + 1}.7")
    """Another of this machine's own, where a service may listen on a port that is open to the gateway."""
    touched: list[str] = field(default_factory=list[str])

    @contextmanager
    def listening(self, directory: Path) -> Generator[None]:
        """Listen on loopback, on an abstract socket and on one in `directory`."""
        self.path = directory / "host.sock"
        with ExitStack() as stack:
            tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            self.port = tcp.getsockname()[1]
            listeners = {"loopback": tcp}
            for name, address in (("abstract socket", f"\0{self.abstract}"), ("unix socket", str(self.path))):
                listener = stack.enter_context(socket.socket(socket.AF_UNIX))
                listener.bind(address)
                listener.listen()
                listeners[name] = listener
            if os.geteuid() == 0:  # where the gateway would go if it did not look at the address
                listeners["port 443"] = stack.enter_context(socket.create_server((self.address, 443)))
            threads = [threading.Thread(target=self._watch, args=pair) for pair in listeners.items()]
            for thread in threads:
                thread.start()
            yield
            for listener in listeners.values():
                listener.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()

    def _watch(self, name: str, listener: socket.socket) -> None:
        while True:
            try:
                connected, _ = listener.accept()
            except OSError:
                return
            connected.close()
            self.touched.append(name)


@dataclass(frozen=True, slots=True)
class Lab:
    """What the attacker is told, and what the host's side looks at afterwards."""

    world: World
    tripwire: Tripwire
    told: dict[str, Any]
    bait: Path
    """A directory of the host that links are laid to."""
    untouched: str
    """Everything below `bait`, as it was."""

    def fingerprint(self) -> str:
        """Everything below `bait`, as it is."""
        return fingerprint(self.bait)

    @property
    def place(self) -> Path:
        """The attacker's own directory, on the host."""
        return self.world.home.groups / ATTACKER

    def results(self, phase: str) -> list[dict[str, Any]]:
        """What the attacker reports of a phase."""
        path = self.place / f"results-{phase}.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def fingerprint(directory: Path) -> str:
    """A digest over names, owners, modes and contents."""
    digest = hashlib.sha256()
    for path in sorted((directory, *directory.rglob("*"))):
        status = path.lstat()
        digest.update(f"{path} {status.st_mode} {status.st_uid} {status.st_gid}\n".encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


@contextmanager
def make_lab(world: World, directory: Path, limits: Mapping[str, float], model_port: int) -> Generator[Lab]:
    """Plant everything around the attacker in `world`; `directory` lies beside its home."""
    tripwire = Tripwire()
    make_passable(directory)
    command = [sys.executable, "-c", "import time; time.sleep(600)", marker := f"host-{secrets.token_hex(8)}"]
    environment = {**os.environ, "PLANTED": token("process")}
    with tripwire.listening(directory), subprocess.Popen(command, env=environment) as process:
        try:
            hidden = _plant(world, directory)
            told: dict[str, Any] = {
                "hidden": {name: str(path) for name, path in hidden.items()},
                "folder": ATTACKER,
                "other folder": NEIGHBOUR,
                "other jid": f"local:{NEIGHBOUR}",
                "main jid": "local:main",
                "host process": marker,
                "host port": tripwire.port,
                "trap address": tripwire.address,
                "host address": _own_address(),
                "host socket": str(tripwire.path),
                "abstract": tripwire.abstract,
                "model port": model_port,
                "control socket": str(world.home.control_socket),
                "other gateway": str(world.home.gateway_directory(NEIGHBOUR) / "gateway.sock"),
                "protocol": PROTOCOL,
                "checks": CHECKS,
                **limits,
            }
            bait = hidden["bait directory"]
            yield Lab(world, tripwire, told, bait, fingerprint(bait))
        finally:
            process.kill()


def make_passable(directory: Path) -> None:
    """What keeps an agent out is to be the sandbox, and not a mode."""
    directory.chmod(0o755)


def arm(lab: Lab) -> None:
    """Lay the attacker's program into its group's directory, as if its agent had written it."""
    place = lab.place
    (place / "inside").mkdir(parents=True, exist_ok=True)
    for source in _INSIDE.glob("*.py"):
        (place / "inside" / source.name).write_bytes(source.read_bytes())
    (place / "lab.json").write_text(json.dumps(lab.told), encoding="utf-8")
    if os.geteuid() == 0:
        for path in (place, place / "lab.json", place / "inside", *(place / "inside").iterdir()):
            os.lchown(path, *agent_owner())


def _plant(world: World, directory: Path) -> dict[str, Path]:
    home = world.home
    places = {
        "credential": home.root / "credentials" / "chatgpt" / "auth.json",
        "other file": home.groups / NEIGHBOUR / "diary.md",
        "other login": home.data / "codex" / NEIGHBOUR / ".codex" / "kept.json",
        "other session": home.data / "sessions" / NEIGHBOUR / ".claude" / "history.jsonl",
        "other mailbox": home.mailboxes / NEIGHBOUR / "results" / "secret.json",
        "other media": home.data / "media" / NEIGHBOUR / "photo.jpg",
        "other run log": home.run_logs(NEIGHBOUR) / "secret.jsonl",
        "own run log": home.run_logs(ATTACKER) / "000000-1.jsonl",
        "log": home.logs / "nanoclaw.log",
        "outside": directory / "outside.txt",
        "bait": directory / "bait" / "file.txt",
    }
    for name, path in places.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"type": "message", "text": token(name.replace(" ", ""))})
        path.write_text(text + "\n", encoding="utf-8")
    fixed = {"env": home.env, "database": home.database, "groups file": home.registered_groups}
    return {**places, **fixed, "settings": home.settings, "bait directory": directory / "bait"}


def _own_address() -> str:
    """This machine's address towards others; a name of its own if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # sends nothing
        except OSError:
            return "127.0.1.1"
        return str(probe.getsockname()[0])
