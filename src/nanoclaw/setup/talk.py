"""The seam between the guide and whoever is guided: a person at a terminal, a pipe, or a program."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from nanoclaw.config import Home

Check = Callable[[str], str]
"""What is wrong with an answer, for people; empty: nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """How a step stands."""

    done: bool
    what: str
    """In a line."""
    hint: str = ""
    """Worth knowing besides: what is not so good, and what would be better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """Something to choose. `value` is what a flag gives."""

    value: str
    text: str


class Progress(Protocol):
    """Something that takes long."""

    def line(self, text: str) -> None:
        """What it says now."""
        ...


class Talk(Protocol):
    """Every question has a flag, whose value answers it without asking.

    Questions raise `UsageError` when nobody can answer, or when a flag's value cannot be.
    """

    asks: bool
    """Whether somebody is there who answers."""

    def given(self, flag: str) -> str | None:
        """What a flag says, `yes` or `no` for one without a value; None: it was not given."""
        ...

    def begin(self, name: str, title: str, finding: Finding) -> None:
        """A step that is not done begins."""
        ...

    def end(self, name: str, title: str, finding: Finding) -> None:
        """A step is done, or was."""
        ...

    def say(self, text: str) -> None:
        """Something worth knowing."""
        ...

    def choose(self, flag: str, question: str, options: Sequence[Option], default: str | None = None) -> str:
        """One of the options' values; `default` is taken by Enter, and where nobody answers."""
        ...

    def ask(self, flag: str, question: str, default: str | None = None, check: Check | None = None) -> str:
        """A text; `default` likewise."""
        ...

    def confirm(self, flag: str, question: str, *, default: bool) -> bool:
        """Yes or no; `default` likewise."""
        ...

    def secret(self, what: str) -> str:
        """A key or a token: typed unseen, or from standard input or a descriptor; never from the command line."""
        ...

    def progress(self, title: str) -> AbstractContextManager[Progress]:
        """Show that something goes on, for as long as the context lasts."""
        ...

    def sign_in_to_codex(self, home: Home, *, device: bool) -> None:
        """Lead through a ChatGPT sign-in. Raises `CredentialError`."""
        ...

    def claude_token(self, home: Home) -> str | None:
        """Lead through `claude setup-token`; None: there is no claude here, or nobody to lead. Raises
        `CredentialError`."""
        ...

    def link_whatsapp(self, home: Home, phone: str | None) -> None:
        """Show codes until a phone has taken one. Raises `ChannelError`, `UsageError`."""
        ...
