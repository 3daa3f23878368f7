"""`nanoclaw image`"""

from typing import Annotated

import anyio
import typer

from nanoclaw import sandbox
from nanoclaw.config import Home, Settings, load_settings

app = typer.Typer(help="What the agents run in: container image, or bubblewrap toolkit.", no_args_is_help=True)


@app.command()
def build(
    context: typer.Context,
    base: Annotated[str | None, typer.Option(help="Build on this image instead of the official slim Python.")] = None,
    browser: Annotated[bool, typer.Option(help="With Chromium and agent-browser.")] = True,
    engine: Annotated[str | None, typer.Option(help="For this sandbox instead of the one in use.")] = None,
) -> None:
    """Make ready what sandboxes need; what is there already is left as it is."""
    home: Home = context.obj
    anyio.run(_build, load_settings(home), engine, base, browser)


async def _build(settings: Settings, engine: str | None, base: str | None, browser: bool) -> None:
    chosen = await sandbox.choose_for_build(settings, engine)
    if base is not None or not await chosen.is_built():
        async for line in chosen.build(base, browser=browser):
            print(line, flush=True)
    print(f"{chosen.name}: ready")
