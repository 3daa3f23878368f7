"""What a step is, and what steps share."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import anyio

from nanoclaw import sandbox
from nanoclaw.config import Home, Settings, load_settings
from nanoclaw.groups import load_groups
from nanoclaw.model import MAIN_FOLDER, Jid, RegisteredGroup
from nanoclaw.sandbox.base import Health, Sandbox
from nanoclaw.setup.memory import Memory
from nanoclaw.setup.talk import Finding, Talk


@dataclass(frozen=True, kw_only=True, slots=True)
class Chat:
    """A chat on WhatsApp. Its name is other people's word."""

    jid: Jid
    name: str


class Setup:
    """The home, which the first step may move, what was decided, and whom to ask."""

    def __init__(self, home: Home, talk: Talk, *, chosen: bool) -> None:
        """Nothing is read yet.

        Args:
            home: where everything is to be.
            talk: who is asked.
            chosen: whether somebody has said that it is this home.
        """
        self.home = home
        self.talk = talk
        self.chosen = chosen
        self.chats: list[Chat] | None = None
        """The account's groups, once they were asked for."""
        self._sandbox: tuple[Sandbox, Health] | None = None

    @property
    def memory(self) -> Memory:
        """What was decided."""
        return Memory(self.home)

    @property
    def settings(self) -> Settings:
        """`nanoclaw.toml` as it stands. Raises `ConfigError`."""
        return load_settings(self.home)

    @property
    def main(self) -> RegisteredGroup | None:
        """The group `main`, once there is one. Raises `ConfigError`."""
        return next((group for group in self.groups if group.folder == MAIN_FOLDER), None)

    @property
    def groups(self) -> list[RegisteredGroup]:
        """The registered groups. Raises `ConfigError`."""
        return list(load_groups(self.home.registered_groups).values())

    def sandbox(self) -> tuple[Sandbox, Health]:
        """The sandbox that runs would take, tried once. Raises `SandboxError`."""
        if self._sandbox is None:
            self._sandbox = anyio.run(sandbox.choose, self.settings)
        return self._sandbox

    def forget_sandbox(self) -> None:
        """It is to be tried anew."""
        self._sandbox = None


class Step(Protocol):
    """One thing that must be so."""

    name: str
    """In JSON."""
    title: str
    """For people."""

    def look(self, setup: Setup) -> Finding:
        """Whether it is so. Changes nothing that anybody would miss."""
        ...

    def needs(self, setup: Setup) -> Iterable[str]:
        """The flags that must be given where nobody answers, each with what it says."""
        ...

    def do(self, setup: Setup) -> None:
        """Make it so, asking what must be known. Raises `NanoclawError`; then it can be tried again."""
        ...
