"""`nanoclaw page`"""

import anyio
import typer

from nanoclaw.client import Client
from nanoclaw.config import Home
from nanoclaw.errors import HostError
from nanoclaw.web.access import address, page_token


def page(context: typer.Context) -> None:
    """Print the address of the page, with its key: open it in a browser on this machine, and keep it to yourself."""
    home: Home = context.obj
    print(anyio.run(page_address, home))


async def page_address(home: Home) -> str:
    """The whole address.

    Raises:
        HostError: no host runs, or it serves no page.
    """
    async with Client(home) as client:
        served = (await client.get("/v1/status"))["page"]
    if served["port"] is None:
        why = served["problem"] or "page.enabled is false"
        raise HostError(f"this host serves no page: {why}", "change it in nanoclaw.toml and start the host anew")
    return address(served["port"], page_token(home.page_token))
