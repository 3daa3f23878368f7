"""Where agents run: the kind of sandbox, its image, the last proofs, and what was left running."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import anyio.to_thread

from nanoclaw import sandbox
from nanoclaw.config import command_environment
from nanoclaw.doctor.findings import Finding, Mend, Say, fine, problem
from nanoclaw.doctor.scene import Scene
from nanoclaw.errors import SandboxError
from nanoclaw.sandbox.base import Sandbox
from nanoclaw.sandbox.engine_commands import ENGINES, list_arguments, listed_names
from nanoclaw.sandbox.process import run_command
from nanoclaw.sandbox.proof import MEANINGS, Record, last_proofs

_LIST_SECONDS: Final = 30.0  # a tenth of a second, unless the engine hangs
_MARKER: Final = "NANOCLAW_INSTALLATION"
"""In the environment of everything that runs under bubblewrap."""


async def sandboxes(scene: Scene) -> AsyncIterator[Finding]:
    """A sandbox starts here, with what agents need in it."""
    try:
        chosen, health = await sandbox.choose(scene.settings)
    except SandboxError as error:
        yield problem("sandbox-missing", "sandbox", str(error), error.hint)
        return
    yield fine("sandbox", f"{chosen.name} starts")
    if health.reason:
        yield problem("sandbox-weaker", "sandbox", health.reason, health.hint)
    for lack in health.lacks:
        yield problem("sandbox-lacks", "sandbox", f"{chosen.name} lacks {lack}")
    yield await _image(scene, chosen)
    yield await _left_running(scene, chosen)


async def _image(scene: Scene, chosen: Sandbox) -> Finding:
    if await chosen.is_built():
        return fine("image", "built for this version")
    own = scene.settings.sandbox.image
    if own and chosen.name in ENGINES:
        return problem("image-missing", "image", f"{chosen.name} does not have {own}", f"make or load {own}")

    async def build(say: Say) -> None:
        async for line in chosen.build():
            say(line)

    mend = Mend(does="make it, which takes some minutes", run=build, asks=True)
    return problem("image-missing", "image", "not built for this version", "nanoclaw image build", mend)


async def _left_running(scene: Scene, chosen: Sandbox) -> Finding:
    """While a host runs, it is the host's."""
    identity = scene.home.run / "installation"
    if scene.status is not None or scene.silent or not identity.exists():
        return fine("stale sandboxes", "none")
    installation = scene.home.installation()
    left = await _running(chosen.name, installation)
    if not left:
        return fine("stale sandboxes", "none")

    async def sweep(_say: Say) -> None:
        await chosen.sweep(installation)

    mend = Mend(does=f"end {len(left)} sandboxes without a host", run=sweep)
    what = f"{len(left)} run without a host: {left[0]}"
    return problem("sandboxes-stale", "stale sandboxes", what, "nanoclaw doctor --fix", mend)


async def _running(kind: str, installation: str) -> list[str]:
    for engine in ENGINES:
        if engine == kind:
            argv = list_arguments(engine, installation)
            found = await run_command(argv, command_environment(), _LIST_SECONDS)
            return listed_names(engine, installation, found.stdout) if found.returncode == 0 else []
    return await anyio.to_thread.run_sync(_bubblewraps, installation)


def _bubblewraps(installation: str) -> list[str]:
    return [name for path in Path("/proc").glob("[0-9]*") if (name := _bubblewrap(path, installation))]


def _bubblewrap(process: Path, installation: str) -> str:
    """The process as a name, if it is bubblewrap's and of this installation; else nothing."""
    try:
        if (process / "exe").readlink().name.removesuffix(" (deleted)") != "bwrap":
            return ""
        mine = f"{_MARKER}={installation}".encode() in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return ""  # gone meanwhile, or somebody else's
    return f"process {process.name}" if mine else ""


def proofs(scene: Scene) -> Iterator[Finding]:
    """The last proof of every group, in each kind of sandbox that it ran in."""
    for group in scene.groups.values():
        for record in last_proofs(scene.home, group.folder):
            yield _proof(record)


def _proof(record: Record) -> Finding:
    verdict = record.verdict
    check = f"proof of {record.folder} in {record.sandbox}"
    when = f"{record.at:%Y-%m-%d %H:%M} UTC"
    if verdict.held:
        lacking = f"; known to lack: {', '.join(verdict.lacks)}" if verdict.lacks else ""
        return fine(check, f"held at {when}, in {verdict.milliseconds:g} ms{lacking}")
    if not verdict.failed:
        why = f": {verdict.problem}" if verdict.problem else ""
        return problem("proof-missing", check, f"none at {when}{why}", "nanoclaw image build")
    what = "; ".join(f"{name}: {found} ({MEANINGS.get(name, '')})" for name, found in verdict.failed.items())
    hint = "look for options that somebody gave the engine in its own configuration; then send a message"
    return problem("proof-failed", check, f"did not hold at {when}: {what}", hint)
