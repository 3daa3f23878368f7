"""`nanoclaw service`: the host as a service of this machine."""

import json
from dataclasses import asdict
from typing import Annotated

import anyio
import typer

from nanoclaw.config import Home, command_environment, load_settings
from nanoclaw.errors import UsageError
from nanoclaw.initialise import initialise
from nanoclaw.sandbox.process import open_process
from nanoclaw.service.managers import Manager, ServiceState, find_manager, install_service, service_spec, wait_for_host
from nanoclaw.service.units import ServiceSpec

app = typer.Typer(help="The host as a service, which starts with this machine.", no_args_is_help=True)

_System = Annotated[bool, typer.Option("--system", help="The machine's own service, not this user's; needs root.")]
_LONGEST_LINE = 1 << 20


@app.command()
def install(context: typer.Context, system: _System = False) -> None:
    """Have the host start with this machine, and start it now. Again: write the service anew, and restart it."""
    home: Home = context.obj
    initialise(home)
    state = anyio.run(_install, home, system)
    print(f"{state.unit} runs; it is written in {state.path}")
    if not state.lingers:
        print("It runs while you are logged in. For always: loginctl enable-linger")


@app.command()
def restart(context: typer.Context, system: _System = False) -> None:
    """Stop the service and start it; running agents get their grace."""
    anyio.run(_restart, context.obj, system)


@app.command()
def uninstall(context: typer.Context, system: _System = False) -> None:
    """Stop the service and remove it; everything in the home stays."""
    print(anyio.run(_uninstall, context.obj, system))


@app.command()
def status(
    context: typer.Context,
    system: _System = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Whether there is a service, and whether it runs. Exit 0: it runs; 1: not."""
    state = anyio.run(_state, context.obj, system)
    if as_json:
        print(json.dumps(asdict(state), default=str, indent=2))
    else:
        print(f"{state.unit} ({state.manager}): {_described(state)}")
    raise typer.Exit(0 if state.running else 1)


@app.command()
def logs(
    context: typer.Context,
    system: _System = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last.")] = 50,
) -> None:
    """What the service says, as its manager keeps it. The host's own log: `nanoclaw logs`."""
    anyio.run(_logs, context.obj, system, lines, follow)


def _described(state: ServiceState) -> str:
    if not state.installed:
        return "not installed; `nanoclaw service install` does it"
    linger = "" if state.lingers else "; only while you are logged in, for always: loginctl enable-linger"
    return f"{'runs' if state.running else 'does not run'} ({state.detail}){linger}"


async def _found(home: Home, system: bool) -> tuple[Manager, ServiceSpec]:
    if not home.root.exists():
        raise UsageError(f"there is nothing in {home.root}", "run `nanoclaw setup`, or name the place with --home")
    spec = service_spec(home, load_settings(home), system=system)
    return await find_manager(spec), spec


async def _install(home: Home, system: bool) -> ServiceState:
    return await install_service(home, load_settings(home), system=system)


async def _restart(home: Home, system: bool) -> None:
    manager, spec = await _found(home, system)
    await manager.restart(spec)
    await wait_for_host(home)


async def _uninstall(home: Home, system: bool) -> str:
    manager, spec = await _found(home, system)
    before = await manager.state(spec)
    await manager.uninstall(spec)
    return f"{spec.name} is removed" if before.installed else f"there was no {spec.name}"


async def _state(home: Home, system: bool) -> ServiceState:
    manager, spec = await _found(home, system)
    return await manager.state(spec)


async def _logs(home: Home, system: bool, lines: int, follow: bool) -> None:
    manager, spec = await _found(home, system)
    command = manager.log_command(spec, lines, follow=follow)
    async with open_process(command, command_environment(), grace=0, merge_stderr=True) as process:
        async for line in process.lines(_LONGEST_LINE):
            print(line.decode("utf-8", "replace"), flush=True)
