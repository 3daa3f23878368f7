"""A whole installation on a home of its own, with scripted models at the far end: for tests and the self-test."""

import json
import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio

from nanoclaw.client import Client
from nanoclaw.clock import Clock, SystemClock, iso
from nanoclaw.config import Home, load_settings
from nanoclaw.credentials.accounts import adopt_login
from nanoclaw.groups import Entries, change_groups, new_entry
from nanoclaw.host import Host
from nanoclaw.initialise import initialise
from nanoclaw.testing.models import Script, ScriptedAnthropic, ScriptedOpenAI

ANSWER_SECONDS: Final = 90.0
"""A run takes less than a second; a machine that is busy building an image takes its time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """One home and its model servers; a host may run on it."""

    home: Home
    openai: ScriptedOpenAI
    anthropic: ScriptedAnthropic

    def secrets(self, **values: str) -> None:
        """Write `.env`: the scripted servers' addresses and these."""
        urls = {
            "OPENAI_BASE_URL": self.openai.base_url,
            "ANTHROPIC_BASE_URL": self.anthropic.base_url,
            "CHATGPT_BASE_URL": self.openai.chatgpt_base_url,
            "CHATGPT_ISSUER_URL": self.openai.issuer_url,
        }
        lines = [f"{name}={value}\n" for name, value in {**urls, **values}.items()]
        self.home.env.write_text("".join(lines), encoding="utf-8")

    def register(self, folder: str, **settings: object) -> None:
        """Register (or change) the local group of that folder; keys as in `registered_groups.json`."""

        def change(entries: Entries) -> None:
            fresh = new_entry(folder.title(), folder, "@Andy", iso(SystemClock().now()))
            entry = entries.setdefault(f"local:{folder}", fresh)
            entry.update(settings)

        change_groups(self.home.registered_groups, change)

    def sign_in_host_to_chatgpt(self, auth: dict[str, Any]) -> None:
        """Give the host a ChatGPT login, as `nanoclaw auth login codex --import` does."""
        adopt_login(self.home, json.dumps(auth).encode())

    def sign_in_to_chatgpt(self, folder: str, auth: dict[str, Any]) -> Path:
        """Put a ChatGPT login into a group, as a person would. Answers the file."""
        path = self.home.data / "codex" / folder / ".codex" / "auth.json"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(json.dumps(auth), encoding="utf-8")
        path.chmod(0o600)
        return path

    @asynccontextmanager
    async def hosting(self, clock: Clock | None = None) -> AsyncGenerator[Client]:
        """A host on this home, for as long as the context lasts, and a client that talks to it."""
        host = Host(self.home, load_settings(self.home), clock)
        async with anyio.create_task_group() as group:
            await group.start(host.run, name="host")
            async with Client(self.home) as client:
                yield client
            host.stop()

    async def ask(
        self, client: Client, folder: str, text: str, sender: str = "Bob", patience: float = ANSWER_SECONDS
    ) -> list[dict[str, Any]]:
        """Say something in a local group and answer what is said in reply.

        Raises:
            TimeoutError: nothing was, within `patience` seconds.
        """
        chat = f"local:{folder}"
        stored = await client.post("/v1/messages", {"chat": chat, "sender": sender, "text": text})
        with anyio.fail_after(patience):
            while True:
                answer = await client.get("/v1/answers", 60, chat=chat, seq=int(stored["seq"]), wait=60)
                if answer["state"] != "waiting":
                    return answer["replies"]


@contextmanager
def make_world(
    openai: Script,
    anthropic: Script,
    *,
    engine: str = "auto",
    settings: str = "",
    sandbox: str = "",
    directory: Path | None = None,
) -> Generator[World]:
    """A fresh home with `main` on the local channel, removed at the end.

    Args:
        openai: what the scripted OpenAI says.
        anthropic: what the scripted Anthropic says.
        engine: the sandbox.
        settings: further lines of `nanoclaw.toml`, before its tables.
        sandbox: further lines of its table `[sandbox]`.
        directory: where the home lies, if not in a temporary place.
    """
    with ExitStack() as stack:
        root = directory or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="nanoclaw-", ignore_cleanup_errors=True))
        )
        world = World(
            home=Home(root.absolute()),
            openai=stack.enter_context(ScriptedOpenAI(openai)),
            anthropic=stack.enter_context(ScriptedAnthropic(anthropic)),
        )
        world.home.root.mkdir(parents=True, exist_ok=True)
        tables = f'[page]\nport = 0\n[sandbox]\nengine = "{engine}"\n'
        world.home.settings.write_text(f"{settings}\n{tables}{sandbox}\n", encoding="utf-8")
        initialise(world.home)
        world.secrets()
        stack.callback(shutil.rmtree, world.home.sockets, ignore_errors=True)  # beside the home if that lies too deep
        yield world
