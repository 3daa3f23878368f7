"""Defences taken away one at a time: a suite that cannot fail proves nothing.

The program has no switch for that. An engine's command line is edited on its way to the engine, a function of ours is
replaced by one that does not look.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nanoclaw import execution
from nanoclaw.sandbox import bubblewrap, engine, process
from nanoclaw.sandbox.payload import RUNNER_COMMAND
from nanoclaw.sandbox.process import Process
from nanoclaw.sandbox.proof import Verdict
from tests.attacks.campaign import Campaign
from tests.attacks.inside.attempt import QUIET

Edit = Callable[[list[str], Path], list[str]]
"""From an engine's command line, and the directory in which everything lies, to one with less in it."""


@dataclass(frozen=True, kw_only=True)
class Defence:
    """One defence, how to take it away, and what must succeed then."""

    name: str
    attempts: tuple[str, ...]
    """By name; at least one of them must be answered otherwise than expected."""
    edits: Mapping[str, Edit] = field(default_factory=dict[str, Edit])
    """By kind of sandbox; none: it is not in a command line."""
    replaced: Callable[[], AbstractContextManager[None]] = nullcontext
    """Takes away what is not in a command line."""
    phase: str = QUIET
    step: Callable[[Campaign], Awaitable[None]] | None = None
    """What is done in place of a phase, where the attempts are the host side's."""
    proven: bool = True
    """Whether the proof at every start is to find out, too; what is not in a command line it cannot see."""


@contextmanager
def replaced(owner: Any, **values: Any) -> Generator[None]:  # noqa: ANN401  # modules and classes alike
    """Other attributes, for as long as the context lasts."""
    before = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


@contextmanager
def edited(edit: Edit, directory: Path) -> Generator[None]:
    """Every sandbox starts with an edited command line."""

    @asynccontextmanager
    async def open_process(argv: Sequence[str], *arguments: Any, **options: Any) -> AsyncGenerator[Process]:  # noqa: ANN401
        line = edit(list(argv), directory) if is_start(argv) else list(argv)
        async with process.open_process(line, *arguments, **options) as started:
            yield started

    with replaced(engine, open_process=open_process), replaced(bubblewrap, open_process=open_process):
        yield


def is_start(argv: Sequence[str]) -> bool:
    """Whether it starts a sandbox for a run, not one that is only tried."""
    return tuple(argv[-len(RUNNER_COMMAND) :]) == RUNNER_COMMAND


def _convinced(*_: object) -> Verdict:
    return Verdict(proven=True)


@contextmanager
def unproven() -> Generator[None]:
    """No proof at the start stands in the way."""
    with replaced(execution.proof, judge=_convinced):
        yield


@contextmanager
def taken_away(defence: Defence, kind: str, directory: Path, *, proof: bool) -> Generator[None]:
    """Everything but `defence`, and but the proof at the start unless that is to stay."""
    with ExitStack() as stack:
        stack.enter_context(defence.replaced())
        if kind in defence.edits:
            stack.enter_context(edited(defence.edits[kind], directory))
        if not proof:
            stack.enter_context(unproven())
        yield


async def succeeded(attacked: Campaign, defence: Defence) -> list[str]:
    """Which of the attempts were answered otherwise than expected."""
    if defence.step:
        await defence.step(attacked)
    else:
        await attacked.phase(defence.phase, defence.attempts)
    return [f"{row.name}: {row.got}" for row in attacked.rows if row.verdict == "HOLE" and row.name in defence.attempts]


# command lines


def without(*words: str) -> Edit:
    """Without these words, wherever they stand one behind the other."""

    def edit(argv: list[str], _: Path) -> list[str]:
        for place in range(len(argv) - len(words), -1, -1):
            if tuple(argv[place : place + len(words)]) == words:
                del argv[place : place + len(words)]
        return argv

    return edit


def without_option(name: str, value: str = "") -> Edit:
    """Without an option whose value begins with `value`."""

    def edit(argv: list[str], _: Path) -> list[str]:
        for place in range(len(argv) - 2, -1, -1):
            if argv[place] == name and argv[place + 1].startswith(value):
                del argv[place : place + 2]
        return argv

    return edit


def changed(old: str, new: str) -> Edit:
    """With something else in the words themselves."""
    return lambda argv, _: [word.replace(old, new) for word in argv]


def with_options(engine_name: str, *options: str) -> Edit:
    """With more options; `{directory}` stands for where everything lies."""

    def edit(argv: list[str], directory: Path) -> list[str]:
        place = (
            argv.index("/dev", argv.index("--chdir") - 6) - 1 if engine_name == "bubblewrap" else argv.index("run") + 1
        )
        return [*argv[:place], *(option.format(directory=directory) for option in options), *argv[place:]]

    return edit


def both(*edits: Edit) -> Edit:
    """One edit after the other."""

    def edit(argv: list[str], directory: Path) -> list[str]:
        for each in edits:
            argv = each(argv, directory)
        return argv

    return edit
