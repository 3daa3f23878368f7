"""Whether the host starts with the machine."""

from collections.abc import Iterable

import anyio

from nanoclaw.config import load_secrets, parse_env
from nanoclaw.errors import HostError
from nanoclaw.service.managers import ServiceState, find_manager, install_service, service_spec
from nanoclaw.setup.step import Setup
from nanoclaw.setup.talk import Finding

_LINGER = "it runs while you are logged in; for always: loginctl enable-linger"


class Background:
    """A service of this machine, or the decision to start the host by hand."""

    name = "service"
    title = "Service"

    def look(self, setup: Setup) -> Finding:
        """It is installed and runs; or nobody wants it; or there is nothing that starts services."""
        wanted = setup.talk.given("service")
        if wanted == "no" or (wanted is None and self._is_declined(setup)):
            return Finding(done=True, what="none: `nanoclaw up` or `nanoclaw run` starts the host")
        try:
            state = anyio.run(_state, setup)
        except HostError as error:
            return Finding(done=wanted is None, what=str(error), hint=error.hint)
        if state.installed and state.running:
            return Finding(done=True, what=f"{state.unit} runs", hint="" if state.lingers else _LINGER)
        return Finding(done=False, what="the host does not start with this machine")

    def needs(self, setup: Setup) -> Iterable[str]:
        """Nothing: without a word there is no service."""
        return ()

    def do(self, setup: Setup) -> None:
        """Ask; install and start it."""
        wanted = setup.talk.confirm("service", "Start the assistant now, and with this machine?", default=True)
        setup.memory.remember(service=wanted)
        if not wanted:
            return
        if here := sorted(load_secrets(setup.home).keys() - parse_env(_env(setup), setup.home.env).keys()):
            setup.talk.say(f"This shell has {', '.join(here)}, and a service has not: put it into {setup.home.env}.")
        anyio.run(install_service, setup.home, setup.settings)

    def _is_declined(self, setup: Setup) -> bool:
        return setup.memory.recall("service") is False or not setup.talk.asks


def _env(setup: Setup) -> str:
    return setup.home.env.read_text(encoding="utf-8") if setup.home.env.exists() else ""


async def _state(setup: Setup) -> ServiceState:
    spec = service_spec(setup.home, setup.settings)
    return await (await find_manager(spec)).state(spec)
