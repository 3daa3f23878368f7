"""`nanoclaw doctor`: what is wrong, why it matters, and the command that mends it."""

import json
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Final

import anyio
import typer

from nanoclaw import credentials, sandbox
from nanoclaw.cli.reading import database
from nanoclaw.client import Client, NoHostError
from nanoclaw.config import Home, Settings, load_secrets, load_settings
from nanoclaw.errors import NanoclawError
from nanoclaw.groups import load_groups
from nanoclaw.model import RegisteredGroup
from nanoclaw.store.database import check_integrity


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at. `ok` None: worth knowing, nothing to mend."""

    check: str
    ok: bool | None
    what: str
    hint: str = ""


def doctor(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False
) -> None:
    """Look at everything that must be right. Exit 0: it is; 1: something is to be mended."""
    findings = anyio.run(_examine, context.obj)
    healthy = all(finding.ok is not False for finding in findings)
    if as_json:
        print(json.dumps({"healthy": healthy, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        for finding in findings:
            print(f"{_MARKS[finding.ok]} {finding.check}: {finding.what}")
            if finding.hint and finding.ok is not True:
                print(f"       → {finding.hint}")
    raise typer.Exit(0 if healthy else 1)


_MARKS: Final = {True: "ok    ", False: "WRONG ", None: "note  "}


async def _examine(home: Home) -> list[Finding]:
    findings = [*_settings(home)]
    try:
        settings = load_settings(home)
    except NanoclawError:
        settings = Settings()
    findings += [*_groups(home), *_sign_ins(home), *_database(home)]
    findings += [finding async for finding in _sandbox(settings)]
    findings.append(await _host(home))
    return findings


def _guarded(check: str, fine: Callable[[], str]) -> Finding:
    try:
        return Finding(check=check, ok=True, what=fine())
    except NanoclawError as error:
        return Finding(check=check, ok=False, what=str(error), hint=error.hint)


def _settings(home: Home) -> Generator[Finding]:
    def fine() -> str:
        load_settings(home)
        return f"{home.settings} is right"

    yield _guarded("settings", fine)


def _groups(home: Home) -> Generator[Finding]:
    yield _guarded("groups", lambda: f"{len(load_groups(home.registered_groups))} registered")


def _sign_ins(home: Home) -> Generator[Finding]:
    try:
        groups = load_groups(home.registered_groups)
        secrets = load_secrets(home)
    except NanoclawError as error:
        yield Finding(check="secrets", ok=False, what=str(error), hint=error.hint)
        return
    for group in groups.values():
        yield _guarded(f"sign-in of {group.folder}", partial(_sign_in, group, secrets, home))


def _sign_in(group: RegisteredGroup, secrets: dict[str, str], home: Home) -> str:
    credential = credentials.resolve(group, secrets, home)
    return f"{group.provider} by {credential.method}" + (f" ({credential.note})" if credential.note else "")


def _database(home: Home) -> Generator[Finding]:
    if not home.database.exists():
        yield Finding(check="database", ok=None, what="there is none yet; the first start makes it")
        return

    def fine() -> str:
        with database(home) as db:
            check_integrity(db)
        return "intact"

    yield _guarded("database", fine)


async def _sandbox(settings: Settings) -> AsyncGenerator[Finding]:
    try:
        chosen, health = await sandbox.choose(settings)
    except NanoclawError as error:
        yield Finding(check="sandbox", ok=False, what=str(error), hint=error.hint)
        return
    yield Finding(check="sandbox", ok=True, what=f"{chosen.name} starts")
    if health.reason:
        yield Finding(check="sandbox", ok=None, what=health.reason, hint=health.hint)
    for lack in health.lacks:
        yield Finding(check="sandbox", ok=None, what=f"lacks {lack}")
    if not await chosen.is_built():
        yield Finding(check="image", ok=False, what="not built for this version", hint="run `nanoclaw image build`")
    else:
        yield Finding(check="image", ok=True, what="built for this version")


async def _host(home: Home) -> Finding:
    try:
        async with Client(home) as client:
            status = await client.get("/v1/status")
    except NoHostError as error:
        return Finding(check="host", ok=None, what="none is running", hint=error.hint)
    return Finding(check="host", ok=True, what=f"runs since {status['host']['since']}")
