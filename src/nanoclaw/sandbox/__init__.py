"""Where runs happen: one protocol (`base`), and whatever this machine has behind it."""

import platform
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from nanoclaw.config import SandboxSettings, Settings
from nanoclaw.errors import SandboxError, UsageError
from nanoclaw.sandbox.base import Health, Sandbox
from nanoclaw.sandbox.bubblewrap import BubblewrapSandbox
from nanoclaw.sandbox.engine import EngineSandbox

SANDBOXES: Final[dict[str, Callable[[SandboxSettings], Sandbox]]] = {
    "podman": partial(EngineSandbox, "podman"),
    "docker": partial(EngineSandbox, "docker"),
    "container": partial(EngineSandbox, "container"),
    "bubblewrap": BubblewrapSandbox,
}
"""Every kind of sandbox, the stronger ones first. To add one: a module, and a line here."""

_ELSEWHERE = {"Linux": "container", "Darwin": "bubblewrap"}  # what this system does not have


async def choose(settings: Settings) -> tuple[Sandbox, Health]:
    """The sandbox that the settings name, else the first that works here, and what its check found.

    A `reason` in the health of a sandbox that works is a warning for the owner.

    Raises:
        SandboxError: none works; it says what is missing and how to get it.
    """
    name = settings.sandbox.engine
    if name != "auto":
        return await _working(name, settings.sandbox)
    refused: list[str] = []
    for name in SANDBOXES:
        if name == _ELSEWHERE.get(platform.system()):
            continue
        try:
            sandbox, health = await _working(name, settings.sandbox)
        except SandboxError as error:
            refused.append(f"{error} ({error.hint})" if error.hint else str(error))
            continue
        if name == "bubblewrap":
            advice = "for an engine: " + "; ".join(refused)
            health = replace(health, reason="bubblewrap isolates less than a container", hint=advice)
        return sandbox, health
    raise SandboxError("no sandbox works here: " + "; ".join(refused), "apt-get install podman, or bubblewrap")


async def choose_for_build(settings: Settings, engine: str | None = None) -> Sandbox:
    """The sandbox to make ready: the named one, else the one that runs would use.

    Raises:
        UsageError: there is none of that name.
        SandboxError: it does not work here.
    """
    if engine is None:
        return (await choose(settings))[0]
    if engine not in SANDBOXES:
        raise UsageError(f"no sandbox is called {engine}", f"there are {', '.join(SANDBOXES)}")
    return (await _working(engine, settings.sandbox))[0]


async def _working(name: str, settings: SandboxSettings) -> tuple[Sandbox, Health]:
    sandbox = SANDBOXES[name](settings)
    health = await sandbox.check()
    if not health.ok:
        raise SandboxError(health.reason, health.hint)
    return sandbox, health
