"""What the proof and the hardening add to a run's start: the same sandbox with everything, and with each of them off.

The program has no switch for that: the command line is edited on its way to the engine.
"""

import json
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final

import anyio.to_thread
from tests.attacks.sabotage import Edit, both, edited, without, without_option

from nanoclaw.config import Home, SandboxSettings
from nanoclaw.model import Folder, Jid, RegisteredGroup
from nanoclaw.sandbox import SANDBOXES, proof
from nanoclaw.sandbox.base import Sandbox, SandboxSpec
from nanoclaw.sandbox.limits import limits_of
from nanoclaw.sandbox.mounts import group_mounts, prepare
from nanoclaw.sandbox.payload import RUNNER_COMMAND

_LONGEST_LINE: Final = 1 << 20
_GROUP: Final = RegisteredGroup(
    jid=Jid("local:bench"), name="Bench", folder=Folder("bench"), trigger="@Andy", added_at="2026-01-31T12:00:00Z"
)
_UNPROVEN: Final = "s/^from .* import main$/import nanoclaw_runner.proof; nanoclaw_runner.proof.CHECKS.clear()\\n&/"
"""Makes the runner try nothing; what it answers then is the same, without a check in it."""

HARDENING: Final[Mapping[str, Edit]] = {
    "podman": both(
        *(without_option("--security-opt", value) for value in ("seccomp=", "no-new-privileges")),
        *(without_option(name) for name in ("--cap-drop", "--memory", "--memory-swap", "--cpus", "--pids-limit")),
        without_option("--ulimit", "fsize"),
        without("--read-only"),
    ),
    "bubblewrap": both(
        without_option("--seccomp"),
        *(without(f"--unshare-{name}") for name in ("ipc", "net", "cgroup-try")),
        lambda argv, _: argv[next(place for place, word in enumerate(argv) if word.endswith("bwrap")) :],
    ),
}
"""By engine, what takes away whatever it starts without: filter, namespaces, limits, capabilities dropped."""


@dataclass(kw_only=True)
class Starts:
    """Seconds from the start of a sandbox to the runner's first word, one of each per start."""

    whole: list[float] = field(default_factory=list[float])
    unproven: list[float] = field(default_factory=list[float])
    """Without the proof."""
    soft: list[float] = field(default_factory=list[float])
    """Without the hardening, and without the proof, which would find that out."""


async def starts(engine: str, count: int) -> Starts:
    """Start so many sandboxes of each sort in turns; the first of each is not counted."""
    found = Starts()
    ways = ((found.whole, _unchanged), (found.unproven, _unproven), (found.soft, both(HARDENING[engine], _unproven)))
    sandbox = SANDBOXES[engine](SandboxSettings())
    assert (await sandbox.check()).ok
    assert await sandbox.is_built(), "`nanoclaw image build` makes it"
    with tempfile.TemporaryDirectory(prefix="nanoclaw-") as directory:
        home = Home(Path(directory) / "home")
        await anyio.to_thread.run_sync(prepare, home, _GROUP)
        for number in range(count + 1):
            for seconds, edit in ways:
                with edited(edit, Path(directory)):
                    took = await _start(sandbox, home)
                if number:
                    seconds.append(took)
    return found


async def _start(sandbox: Sandbox, home: Home) -> float:
    spec = SandboxSpec(
        name=f"nanoclaw-bench-{secrets.token_hex(6)}",
        installation="bench",
        folder=_GROUP.folder,
        mounts=group_mounts(home, _GROUP),
        limits=limits_of(SandboxSettings()),
        canary=secrets.token_hex(16),
    )
    asked = json.dumps(proof.ask(home, sandbox.traits(), spec)).encode()
    began = perf_counter()
    async with sandbox.start(spec) as process:
        await process.send_line(asked)
        line = await anext(aiter(process.lines(_LONGEST_LINE)), b"")
        took = perf_counter() - began
    assert json.loads(line)["type"] == "proof", line
    return took


def _unchanged(argv: list[str], _: Path) -> list[str]:
    return argv


def _unproven(argv: list[str], _: Path) -> list[str]:
    """The runner's own script, in which the proof has nothing to try."""
    script = f"sh -c \"$(sed '{_UNPROVEN}' /opt/nanoclaw/bin/nanoclaw-runner)\""
    return [*argv[: -len(RUNNER_COMMAND)], "sh", "-c", script]
