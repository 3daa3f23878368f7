"""What agents are kept in."""

import platform
from collections.abc import Iterable
from typing import Final

import anyio

from nanoclaw.config import SandboxSettings
from nanoclaw.errors import SandboxError
from nanoclaw.sandbox import SANDBOXES
from nanoclaw.sandbox.base import Health
from nanoclaw.setup.settings_file import change_settings
from nanoclaw.setup.step import Setup
from nanoclaw.setup.talk import Finding, Option

_WEAKER: Final = "bubblewrap"
_ABSENT: Final = {"Linux": "container", "Darwin": "bubblewrap"}
"""What there is not on this system."""
_AGAIN: Final = "again"
_TITLES: Final = {
    "podman": "podman: containers",
    "docker": "Docker: containers",
    "container": "Apple container: a small virtual machine for each agent",
    "bubblewrap": "bubblewrap: isolates less; agents see this machine's own programs",
}


class Engine:
    """The sandbox: an engine for containers, or bubblewrap."""

    name = "engine"
    title = "Sandbox"

    def look(self, setup: Setup) -> Finding:
        """One starts; the weaker one only if it was chosen."""
        wanted = setup.talk.given("engine")
        if wanted and wanted not in ("auto", setup.settings.sandbox.engine):
            return Finding(done=False, what=f"{wanted} is asked for")
        try:
            chosen, health = setup.sandbox()
        except SandboxError as error:
            return Finding(done=False, what=str(error), hint=error.hint)
        if chosen.name == _WEAKER and setup.settings.sandbox.engine != _WEAKER:
            return Finding(done=False, what="only bubblewrap works here, which isolates less than a container")
        lacks = f"lacks {', '.join(health.lacks)}" if health.lacks else ""
        return Finding(done=True, what=f"{chosen.name} starts", hint=lacks)

    def needs(self, setup: Setup) -> Iterable[str]:
        """Nothing: what works is taken."""
        return ()

    def do(self, setup: Setup) -> None:
        """Show what works here and what the others lack; take one, or look again when something was installed."""
        while (name := self._choice(setup)) == _AGAIN:
            pass
        health = _health(name, setup.settings.sandbox)
        if not health.ok:
            raise SandboxError(health.reason, health.hint)
        change_settings(setup.home, {"sandbox.engine": name})
        setup.forget_sandbox()

    def _choice(self, setup: Setup) -> str:
        wanted = setup.talk.given("engine")
        if wanted:
            return setup.talk.choose("engine", "", [Option(value=name, text=name) for name in SANDBOXES])
        found = _survey(setup.settings.sandbox)
        for name, health in found.items():
            if not health.ok:
                setup.talk.say(f"Not {name}: {health.reason}" + (f" ({health.hint})" if health.hint else ""))
        works = [Option(value=name, text=_TITLES[name]) for name, health in found.items() if health.ok]
        if not works and not setup.talk.asks:
            raise SandboxError("no sandbox works here", "apt-get install podman, or bubblewrap")
        setup.talk.say("Agents run in a sandbox, away from your files. podman is the best choice.")
        again = Option(value=_AGAIN, text="look again: I have installed something meanwhile")
        return setup.talk.choose("engine", "Which sandbox?", [*works, again], (*works, again)[0].value)


def _survey(settings: SandboxSettings) -> dict[str, Health]:
    here = [name for name in SANDBOXES if name != _ABSENT.get(platform.system())]
    return {name: _health(name, settings) for name in here}


def _health(name: str, settings: SandboxSettings) -> Health:
    return anyio.run(SANDBOXES[name](settings).check)
