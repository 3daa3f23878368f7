"""`nanoclaw run`, `up`, `selftest`."""

import json
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any

import anyio
import typer
from anyio.abc import TaskStatus

from nanoclaw.cli.page import page_address
from nanoclaw.cli.talk import converse
from nanoclaw.clock import SystemClock
from nanoclaw.config import Home, Settings, load_secrets, load_settings
from nanoclaw.credentials import resolve
from nanoclaw.errors import CredentialError, HostError, UsageError
from nanoclaw.groups import load_groups
from nanoclaw.host import Host, run_until_signal
from nanoclaw.initialise import initialise
from nanoclaw.lives import Lives
from nanoclaw.logs import set_up_logging
from nanoclaw.model import MAIN_FOLDER, Jid

_Anyway = Annotated[bool, typer.Option("--anyway", help="Even after it crashed again and again.")]


def run(context: typer.Context, anyway: _Anyway = False) -> None:
    """Run the host in the foreground, as a service does; its log goes to stderr and logs/nanoclaw.log."""
    home, settings = _ready(context)
    set_up_logging(home.logs, settings.log_level, to_stderr=True)
    anyio.run(run_until_signal, _host(home, settings, anyway))


def _host(home: Home, settings: Settings, anyway: bool) -> Host:
    return Host(home, settings, lives=Lives(home, SystemClock(), anyway=anyway))


def up(context: typer.Context, anyway: _Anyway = False) -> None:
    """Run the host and talk to `main` in this terminal; what `make run` starts."""
    home, settings = _ready(context)
    talking = sys.stdin.isatty()
    set_up_logging(home.logs, settings.log_level, to_stderr=not talking)
    anyio.run(_up, home, _host(home, settings, anyway), talking)


async def _up(home: Home, host: Host, talking: bool) -> None:
    async with anyio.create_task_group() as group:

        async def hosting(*, task_status: TaskStatus[None]) -> None:
            await run_until_signal(host, task_status=task_status)
            group.cancel_scope.cancel()

        await group.start(hosting, name="host")
        print(_welcome(home, talking), flush=True)
        with suppress(HostError):  # without a page there is nothing to say
            print(f"The page: {await page_address(home)}", flush=True)
        if talking:
            await converse(home, _main_chat(home), "You")
            print("Stopping …")
            host.stop()


def _ready(context: typer.Context) -> tuple[Home, Settings]:
    home: Home = context.obj
    initialise(home)
    return home, load_settings(home)


def _main_chat(home: Home) -> Jid:
    groups = load_groups(home.registered_groups)
    found = next((jid for jid, group in groups.items() if group.folder == MAIN_FOLDER), None)
    if found is None or not found.startswith("local:"):
        raise UsageError("main is not on the local channel", "run the host with `nanoclaw run`")
    return found


def _welcome(home: Home, talking: bool) -> str:
    lines = [f"NanoClaw runs on {home.root}."]
    main = next(group for group in load_groups(home.registered_groups).values() if group.folder == MAIN_FOLDER)
    try:
        resolve(main, load_secrets(home), home, load_settings(home).credentials)
    except CredentialError as error:
        lines.append(f"{error}: {error.hint}")
    lines.append("Type a message." if talking else "Talk to it with `nanoclaw chat`, from another terminal.")
    return "\n".join(lines)


def selftest(
    context: typer.Context,
    engine: Annotated[str | None, typer.Option(help="The sandbox; default: the one in use.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Try the main job: real CLIs in a real sandbox, against scripted models on this machine. Free of charge."""
    from nanoclaw.selftest import SCENARIOS, run_scenario  # the top of the layers, needed by this command alone

    home: Home = context.obj
    set_up_logging(None, "error", to_stderr=False)
    chosen = engine or load_settings(home).sandbox.engine
    results: list[dict[str, Any]] = []
    for scenario in SCENARIOS:
        result = anyio.run(run_scenario, scenario, chosen)
        results.append(asdict(result))
        if not as_json:
            print(
                f"{'ok  ' if result.passed else 'FAIL'} {result.seconds:5.1f} s  {result.name}  {result.why}",
                flush=True,
            )
    passed = all(result["passed"] for result in results)
    if as_json:
        print(json.dumps({"passed": passed, "engine": chosen, "scenarios": results}, indent=2, ensure_ascii=False))
    raise typer.Exit(0 if passed else 1)
