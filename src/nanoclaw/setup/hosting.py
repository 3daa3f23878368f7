"""A host to ask: the one that runs, else one for as long as it is needed."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio

from nanoclaw.client import Client, NoHostError
from nanoclaw.config import Home, load_settings
from nanoclaw.errors import HostError
from nanoclaw.host import Host
from nanoclaw.logs import set_up_logging

_CONNECT_SECONDS: Final = 60.0  # to WhatsApp, at first use
_LOOK_SECONDS: Final = 0.3  # between two looks at a host's status, which does not announce itself


@asynccontextmanager
async def a_host(home: Home) -> AsyncGenerator[Client]:
    """A client of the running host; without one, of a host that runs in this process and ends with the context.

    Raises:
        HostError: the one that runs was started before WhatsApp was switched on.
    """
    async with Client(home) as client:
        try:
            status = await client.get("/v1/status")
        except NoHostError:
            async with _own_host(home):
                yield client
            return
        _check(home, status)
        yield client


@asynccontextmanager
async def _own_host(home: Home) -> AsyncGenerator[None]:
    settings = load_settings(home)
    set_up_logging(home.logs, settings.log_level, to_stderr=False)
    host = Host(home, settings)
    async with anyio.create_task_group() as group:
        await group.start(host.run, name="host")
        try:
            yield
        finally:
            host.stop()


def _check(home: Home, status: dict[str, Any]) -> None:
    running = {channel["name"] for channel in status["channels"]}
    if load_settings(home).whatsapp.enabled and "whatsapp" not in running:
        what = f"the host that runs (process {status['host']['pid']}) does not know of WhatsApp yet"
        raise HostError(what, "restart it: `nanoclaw service restart`, or end it where it runs")


async def connected(client: Client) -> None:
    """Wait until WhatsApp is connected, where it is used.

    Raises:
        HostError: it is not within a minute; says why.
    """
    found: dict[str, Any] = {}
    with anyio.move_on_after(_CONNECT_SECONDS):
        while True:
            channels = (await client.get("/v1/status"))["channels"]
            found = next((channel for channel in channels if channel["name"] == "whatsapp"), {"connected": True})
            if found["connected"]:
                return
            await anyio.sleep(_LOOK_SECONDS)
    raise HostError(f"WhatsApp is not connected: {found['problem'] or found['state']}", found["hint"] or "try again")
