"""What is wrong, why it matters, and what mends it: a small function for each thing that must be right.

To add one: a problem's name in `findings.PROBLEMS`, a function that answers findings, its place in one of the tables
below, and a row in tests/unit/test_doctor.py that provokes and cures it.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

import anyio
import anyio.to_thread

from nanoclaw.doctor import access, files, machine, running, sandboxes, stored
from nanoclaw.doctor.findings import PROBLEMS, Finding, Mend, Severity, problem
from nanoclaw.doctor.scene import Machine, Scene, look_around
from nanoclaw.errors import NanoclawError

__all__ = ["CHECKS", "PROBLEMS", "Finding", "Machine", "Mend", "Scene", "Severity", "examine", "look_around"]

Look = Callable[[Scene], Iterator[Finding]]
Try = Callable[[Scene], AsyncIterator[Finding]]

CHECKS: Final[tuple[Look, ...]] = (
    files.home_is_there,
    files.settings,
    files.secrets,
    files.groups,
    files.privacy,
    files.owners,
    files.mailboxes,
    machine.room,
    machine.quotas,
    machine.clock,
    machine.timezone,
    machine.sockets,
    machine.page_port,
    stored.database,
    access.sign_ins,
    sandboxes.proofs,
    running.host,
    running.crashes,
    running.service,
    running.chats,
    running.channels,
    running.whatsapp,
)
"""Looks that take milliseconds, in the order in which people are told."""
TRIALS: Final[tuple[Try, ...]] = (sandboxes.sandboxes, access.providers)
"""Those that start something or ask somebody, at once with the looks."""


async def examine(scene: Scene) -> list[Finding]:
    """Everything that there is to say, those things too that are fine."""
    found: list[list[Finding]] = [[] for _ in (*CHECKS, *TRIALS)]

    async def look() -> None:
        for place, check in zip(found, CHECKS, strict=False):
            await anyio.to_thread.run_sync(_collect, check, scene, place)

    async def attempt(check: Try, place: list[Finding]) -> None:
        try:
            place.extend([finding async for finding in check(scene)])
        except (NanoclawError, OSError) as error:
            place.append(_unreadable(check.__name__, error))

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        for check, place in zip(TRIALS, found[len(CHECKS) :], strict=True):
            group.start_soon(attempt, check, place)
    return [finding for place in found for finding in place]


def _collect(check: Look, scene: Scene, place: list[Finding]) -> None:
    try:
        place.extend(check(scene))
    except (NanoclawError, OSError) as error:
        place.append(_unreadable(check.__name__, error))


def _unreadable(check: str, error: NanoclawError | OSError) -> Finding:
    """A look that cannot be taken is a finding too, and costs only itself."""
    hint = error.hint if isinstance(error, NanoclawError) else "check the disk, and who owns the home"
    return problem("unreadable", check.replace("_", " "), str(error), hint)
