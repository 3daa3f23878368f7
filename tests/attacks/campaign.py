"""The attacks on one kind of sandbox: a whole installation, real runs of the real Codex, and what came of them.

Everything is as in any installation; only the model is scripted, which says "run this" where an agent was talked into
it, and the resolver of names, which knows some that lead where nobody may go.
"""

import json
import socket
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from nanoclaw.client import Client
from nanoclaw.clock import SystemClock
from nanoclaw.model import Folder, Jid
from nanoclaw.store import outbox
from nanoclaw.store.database import connect
from nanoclaw.testing.models import Conversation, say, shell
from nanoclaw.testing.models.answers import Answer, Whole
from nanoclaw.testing.models.openai import ScriptedOpenAI
from nanoclaw.testing.models.script import Step
from nanoclaw.testing.models.server import RecordedRequest
from nanoclaw.testing.world import make_world
from tests.attacks.lab import ATTACKER, NEIGHBOUR, Lab, Tripwire, arm, make_lab, token
from tests.attacks.table import Row

MEMORY: Final = 768 << 20
PIDS: Final = 200
DISK: Final = 1 << 30
ANSWER_SECONDS: Final = 240.0
"""For a run to be answered, the longest phase on a busy machine included; whoever is not answered then never is."""
BURN_SECONDS: Final = 2.0
"""How long a bomb keeps every processor busy, while a neighbour is to be answered."""

_SETTINGS: Final = "[runs]\nmax_attempts = 1\nretry_base_seconds = 0.1\n"
_LIMITS: Final = f'memory = "{MEMORY >> 20}m"\npids = {PIDS}\ndisk = "{DISK >> 20}m"\n'
_DO: Final = "do: "
SAY: Final = "say: "
"""Before a text in JSON: the answer, letter by letter."""
KEY: Final = token("key")
_LACKS: Final = {"memory without end": "limit on memory", "processes without end": "limit on processes"}
"""Attempts that only a limit stops, and how `status` says that there is none."""


def attacker_model(conversation: Conversation) -> Step:
    """Does what the newest message says, and tells what came of it."""
    if conversation.tool_outputs:
        return say(conversation.tool_outputs[-1] or "nothing was printed")
    asked = conversation.messages[-1].removeprefix("@Andy").strip()
    if asked.startswith(SAY):
        return say(json.loads(asked.removeprefix(SAY)))
    return shell(asked.removeprefix(_DO)) if asked.startswith(_DO) else say(f"You said: {asked}")


@dataclass
class Campaign:
    """One kind of sandbox under attack; `rows` are what came of it so far."""

    engine: str
    """As the table calls it."""
    lab: Lab
    client: Client
    names: list[str]
    """What the resolver was asked for."""
    lacks: list[str] = field(default_factory=list[str])
    """What this kind of sandbox cannot do, as `status` tells it."""
    rows: list[Row] = field(default_factory=list[Row])

    def note(self, category: str, name: str, expected: str | tuple[str, ...], got: str) -> None:
        """Add a row."""
        wanted = (expected,) if isinstance(expected, str) else expected
        self.rows.append(Row(category, name, self.engine, wanted, got))

    def check(self, category: str, name: str, expected: str, held: bool, otherwise: object) -> None:
        """Add a row that is as expected, or is what was found in its place."""
        self.note(category, name, expected, expected if held else str(otherwise)[:300] or "it was not so")

    async def phase(self, name: str, only: Sequence[str] = ()) -> None:
        """Have the attacker run a phase, and add its rows.

        Args:
            name: of the phase.
            only: the attempts to make, if not all of them.
        """
        self.lab.told["only"] = list(only)
        said = await self.attack(name)
        try:
            found = self.lab.results(name)
        except OSError as error:
            self.note("the suite", f"the phase {name} runs", "it ran", f"broken: {error}: {said}"[:300])
            return
        for row in found:
            lack = next((text for text in self.lacks if _LACKS.get(row["name"], "-") in text), "")
            self.rows.append(Row(row["category"], row["name"], self.engine, tuple(row["expected"]), row["got"], lack))
        self.check("the suite", f"the phase {name} runs to its end", "it ran", "were made" in said, f"broken: {said}")

    async def attack(self, what: str) -> str:
        """Have the attacker do something, as one run; answers what its chat was told."""
        arm(self.lab)
        return await self.run(ATTACKER, f"{python_inside(self.engine)} -I -B -c '{_PROGRAM}' '{what}'")

    async def run(self, folder: Folder, command: str) -> str:
        """Have a group's agent run a shell command."""
        return await self.ask(folder, _DO + command)

    async def ask(self, folder: Folder, text: str) -> str:
        """Say something in a group; answers what its chat was told."""
        try:
            replies = await self.lab.world.ask(self.client, folder, f"@Andy {text}", patience=ANSWER_SECONDS)
        except TimeoutError:
            return f"broken: no answer within {ANSWER_SECONDS:g} s"
        return "\n".join(str(reply["text"]) for reply in replies)

    @asynccontextmanager
    async def beside(self) -> AsyncGenerator["Campaign"]:
        """The same campaign, for a task of its own: a client asks one thing at a time."""
        async with Client(self.lab.world.home) as client:
            yield replace(self, client=client)

    def said(self, folder: str) -> list[str]:
        """All that a group's chat was ever told."""
        db = connect(self.lab.world.home.database, SystemClock().now())
        try:
            return [item.text for item in outbox.sent_after(db, Jid(f"local:{folder}"), 0, 100_000)]
        finally:
            db.close()


_PROGRAM: Final = 'import sys; sys.path.insert(0, "/workspace/group"); from inside.main import main; main(sys.argv[1])'


def python_inside(engine: str) -> str:
    """An interpreter inside."""
    if not engine.startswith("bubblewrap"):
        return "python3"
    return str(Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}").resolve())


class _Server(ScriptedOpenAI):
    """The model's server, with one address that leads elsewhere."""

    elsewhere = ""

    def _route(self, request: RecordedRequest) -> Answer:
        if request.path.endswith("/redirect"):
            return Whole(302, {}, {"location": self.elsewhere})
        return super()._route(request)


@contextmanager
def resolver(tripwire: Tripwire, own: str) -> Generator[list[str]]:
    """Names in `.test` resolve as an attacker's name server would answer; gives what was asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo
    table = {
        "loop.test": [tripwire.address],
        "lan.test": ["10.1.2.3"],
        "metadata.test": ["169.254.169.254"],
        "mixed.test": ["1.1.1.1", tripwire.address],
        "mapped.test": [f"::ffff:{tripwire.address}"],
        "own.test": [own],
        "www.listed.test": [tripwire.address],
        "only.test": ["10.1.2.3"],
    }

    def resolve(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # as the original
        name = host.decode() if isinstance(host, bytes) else str(host)
        if not name.endswith(".test"):
            return real(host, port, *arguments, **options)
        asked.append(name)
        if name == "rebind.test":  # public at every other time, and nobody is there
            addresses = ["2620:4f:8000::1"] if asked.count(name) % 2 else [tripwire.address]
        else:
            addresses = table.get(name, [])
        found = [entry for address in addresses for entry in real(address, port, type=socket.SOCK_STREAM)]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return found

    socket.getaddrinfo = resolve
    try:
        yield asked
    finally:
        socket.getaddrinfo = real


@asynccontextmanager
async def campaign(engine: str, title: str, directory: Path, settings: str = "") -> AsyncGenerator[Campaign]:
    """An installation with an attacker, a neighbour and a host that runs, in `directory`.

    Args:
        engine: as the settings name it.
        title: as the table does.
        directory: an empty one.
        settings: further lines of the table `[sandbox]`.
    """
    sandbox = f"{settings}\n{_LIMITS}"
    with (
        make_world(
            attacker_model,
            attacker_model,
            engine=engine,
            settings=_SETTINGS,
            sandbox=sandbox,
            directory=directory / "h",
        ) as made,
        _Server(attacker_model) as server,
    ):
        world = replace(made, openai=server)
        world.secrets(OPENAI_API_KEY=KEY, ANTHROPIC_API_KEY=token("claude"), CLAUDE_CODE_OAUTH_TOKEN=token("oauth"))
        for folder in (ATTACKER, NEIGHBOUR):
            world.register(folder, provider="codex", network={"policy": "open"})
        limits = {"memory": MEMORY, "pids": PIDS, "disk": DISK, "tmp": 512 << 20, "burn seconds": BURN_SECONDS}
        port = int(server.origin.rpartition(":")[2])
        with make_lab(world, directory, limits, port) as lab:
            server.elsewhere = f"http://127.0.0.1:{lab.tripwire.port}/"
            with resolver(lab.tripwire, lab.told["host address"]) as names:
                async with world.hosting() as client:
                    yield Campaign(title, lab, client, names)
