"""The real runner in a real sandbox behind the real gateway; only the model's server is scripted."""

import json
from base64 import b64decode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self, cast

import anyio

from nanoclaw.atomic import replace_file
from nanoclaw.config import Home, SandboxSettings
from nanoclaw.gateway import Gateway, Route
from nanoclaw.model import Folder, Jid, RegisteredGroup
from nanoclaw.providers import ProviderName
from nanoclaw.sandbox import mounts
from nanoclaw.sandbox.base import SandboxProcess, SandboxSpec
from nanoclaw.sandbox.bubblewrap import BubblewrapSandbox
from nanoclaw.testing.models import ScriptedAnthropic, ScriptedOpenAI
from nanoclaw.wire import MAX_EVENT_BYTES, PROTOCOL, ContainerInput

MESSAGE = '<messages>\n<message sender="Bob" time="2026-01-31T12:00:00+01:00">What is new?</message>\n</messages>'

DOT = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
"""The smallest PNG."""

Event = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What one run said."""

    events: list[Event]
    stderr: str

    @property
    def end(self) -> Event:
        """The last event; there is exactly one end."""
        ends = [event for event in self.events if event["type"] in ("done", "failed")]
        assert ends == self.events[-1:], self
        return ends[0]

    @property
    def output(self) -> str | None:
        """The answer."""
        return next((event["text"] for event in reversed(self.events) if event["type"] == "output"), None)

    @property
    def usage(self) -> Event:
        """What it cost."""
        return next(event for event in self.events if event["type"] == "usage")


@asynccontextmanager
async def answering(mailbox: Path, answer: dict[str, object]) -> AsyncGenerator[list[dict[str, object]]]:
    """Play the host for as long as the context lasts: every file in `tasks` gets this answer. Gives what was asked."""
    asked: list[dict[str, object]] = []
    (mailbox / "results").mkdir(exist_ok=True)

    async def look() -> None:
        while True:
            for file in (mailbox / "tasks").glob("[!.]*.json"):
                asked.append(json.loads(file.read_bytes()))
                file.unlink()
                replace_file(mailbox / "results" / file.name, json.dumps(answer), 0o644)
            await anyio.sleep(0.01)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        yield asked
        tasks.cancel_scope.cancel()


class Rig:
    """One group of one provider: its directories, its gateway, and runs in its sandbox."""

    def __init__(self, root: Path, provider: ProviderName, gateway: Gateway) -> None:
        self.home = Home(root)
        self.provider: ProviderName = provider
        self.group = RegisteredGroup(
            jid=Jid("local:family"),
            name="Family",
            folder=Folder("family"),
            trigger="@Andy",
            added_at="",
            provider=provider,
        )
        self._gateway = gateway
        self.sandbox = BubblewrapSandbox(SandboxSettings())
        self._numbers = count(1)
        mounts.prepare(self.home, self.group)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, root: Path, server: ScriptedOpenAI | ScriptedAnthropic, headers: dict[str, str] | None = None
    ) -> AsyncGenerator[Self]:
        """A group whose provider's API is `server`; `headers` are the credential that the gateway adds."""
        home = Home(root)
        async with anyio.create_task_group() as tasks:
            gateway = Gateway(home.gateway_directory)
            await tasks.start(gateway.run)
            codex = isinstance(server, ScriptedOpenAI)
            rig = cls(root, "codex" if codex else "claude", gateway)
            route = Route(
                provider=rig.provider,
                base_url=server.base_url,
                headers=headers or {},
                chatgpt_base_url=server.chatgpt_base_url if codex else None,
            )
            await gateway.open(rig.group.folder, route)
            async for _ in rig.sandbox.build():  # the runner as it is now
                pass
            yield rig
            await gateway.close(rig.group.folder)
            tasks.cancel_scope.cancel()

    def place(self, target: str) -> Path:
        """Where a directory of the sandbox is on this machine."""
        return next(mount.source for mount in mounts.group_mounts(self.home, self.group) if mount.target == target)

    def request(self, **changes: object) -> ContainerInput:
        """An ordinary request, with `changes`."""
        request = ContainerInput(
            protocol=PROTOCOL,
            runId=1,
            attempt=1,
            prompt=MESSAGE,
            groupFolder="family",
            groupName="Family",
            chatJid="local:family",
            isMain=False,
            isScheduledTask=False,
            assistantName="Andy",
            channel="WhatsApp",
            timezone="Europe/Berlin",
            provider=self.provider,
            providerConfig={},
            approvalPolicy="auto",
            model=None,
            credential="api_key",
            timeoutSeconds=60.0,
        )
        return cast("ContainerInput", {**request, **changes})

    @asynccontextmanager
    async def start(self, request: ContainerInput) -> AsyncGenerator[SandboxProcess]:
        """A runner that has been given its request."""
        spec = SandboxSpec(
            name=f"test-{next(self._numbers)}",
            installation="runner-tests",
            folder=self.group.folder,
            mounts=mounts.group_mounts(self.home, self.group),
        )
        async with self.sandbox.start(spec) as process:
            await process.send_line(json.dumps(request).encode())
            yield process

    async def run(self, **changes: object) -> Outcome:
        """One whole run."""
        async with self.start(self.request(**changes)) as process:
            events = [json.loads(line) async for line in process.lines(MAX_EVENT_BYTES)]
            return Outcome(events, process.stderr_tail())
