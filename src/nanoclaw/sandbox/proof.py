"""Whether a sandbox holds: proven from inside, before every run.

The runner tries what must not be possible (`nanoclaw_runner.proof`) and says what came of it; here is what it is asked,
and the judgement. Nothing of the run is handed over before. What is missing, unknown or malformed counts as failed.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from nanoclaw.clock import iso
from nanoclaw.config import Home, user_config_directory
from nanoclaw.errors import MountError
from nanoclaw.failures import Failure
from nanoclaw.formatting import printable
from nanoclaw.model import Folder
from nanoclaw.sandbox.base import Limits, Mount, SandboxSpec, Traits
from nanoclaw.sandbox.process import last_line
from nanoclaw.wire import CHECKS, PROTOCOL, LimitClaims, MountClaim, ProveRequest

MEANINGS: Final[Mapping[str, str]] = {
    "user": "an agent that is root can undo the rest",
    "capabilities": "with a capability an agent can get around the limits of its sandbox",
    "new-privileges": "a setuid program would make an agent root",
    "filter": "without the filter an agent can reach the kernel's weak spots",
    "mounting": "who can mount can see the host's files",
    "tracing": "an agent could take over other processes",
    "runner": "an agent could forge what the runner reports",
    "kernel": "these calls are where most ways out of a sandbox begin",
    "settings": "an agent could change, or read, what belongs to the whole machine",
    "devices": "an agent could read the machine's disks and memory",
    "network": "an agent could go around the gateway, into your network or to anywhere",
    "host-files": "an agent could read keys, messages and other groups",
    "descriptors": "an open file leads out of the sandbox",
    "mounts": "an agent could see, or write, directories that are not its group's",
    "read-only": "an agent could change what other runs rely on",
    "processes": "an agent could see and stop what is not its own",
    "secrets": "an agent could read the host's environment, and the keys in it",
    "limits": "an agent could use up this machine",
    "namespaces": "in a namespace of its own making an agent has every capability",
}
"""For each check why it matters, for people."""

_NAMESPACES: Final = ("ipc", "mnt", "net", "pid", "uts")
_PROCESSES_OF_A_USER: Final = 16384  # engines' ceiling for a uid that several sandboxes share; `pids` is the bound
_SHOWN: Final = 200
_MOST_MILLISECONDS: Final = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What became of one proof."""

    proven: bool = False
    """Whether there was a proof at all; without one nothing holds."""
    failed: Mapping[str, str] = field(default_factory=dict[str, str])
    """Checks that did not hold, and what succeeded."""
    lacks: tuple[str, ...] = ()
    """Checks that did not hold, as is known of this kind of sandbox."""
    milliseconds: float = 0.0
    problem: str = ""
    """Why there is no proof at all."""
    retryable: bool = False
    """Whether it may be otherwise next time."""

    @property
    def held(self) -> bool:
        """Whether the run may start."""
        return self.proven and not self.failed and not self.problem

    def failure(self, stderr: str) -> Failure:
        """Why the run does not start, for the log and the chat; `stderr` is what the sandbox said besides."""
        if self.problem:
            detail = f"{self.problem} {last_line(stderr)}".strip()
            hint = "`nanoclaw image build` makes one of this version"
            return Failure(kind="sandbox", detail=detail, retryable=self.retryable, hint=hint)
        found = "; ".join(f"{name}: {what}" for name, what in self.failed.items())
        meaning = MEANINGS.get(next(iter(self.failed)), "")
        hint = f"So nothing was run: {meaning}. `nanoclaw doctor` says more"
        return Failure(kind="sandbox", detail=f"it does not hold: {found}", retryable=False, hint=hint)


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """The last proof of one group in one kind of sandbox."""

    folder: str
    sandbox: str
    at: datetime
    verdict: Verdict


LATE: Final = Verdict(problem="it gave no proof in time that it holds", retryable=True)
"""What becomes of a proof that is waited for in vain."""

_RECORD: Final = TypeAdapter(Record)


def ask(home: Home, traits: Traits, spec: SandboxSpec) -> ProveRequest:
    """What the runner is asked to try. Looks at the directories that are mounted; it may block.

    Raises:
        MountError: one of them is gone.
    """
    return ProveRequest(
        type="prove",
        protocol=PROTOCOL,
        forbidden=[str(path) for path in _forbidden(home)],
        tokens=[spec.canary] if spec.canary else [],
        mounts=[_claim(mount, traits) for mount in spec.mounts],
        fixtures=list(traits.fixtures),
        namespaces=_namespaces() if traits.shares_kernel else {},
        limits=_limits(spec.limits, traits),
    )


def judge(line: bytes | None, traits: Traits) -> Verdict:
    """What the runner's first line says of the sandbox; None: there was none. Pure.

    Args:
        line: hostile input, should somebody have got in between.
        traits: says what this kind of sandbox is known to lack.
    """
    if line is None:
        return Verdict(problem="it ended without a proof that it holds", retryable=True)
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    match value:
        case {"type": "failed", "text": str(text)}:
            return Verdict(problem=printable(text).strip()[:_SHOWN] or "it failed without a word")
        case {"type": "proof", "protocol": int(protocol), "checks": dict(), "milliseconds": int() | float()} if (
            protocol == PROTOCOL
        ):
            return _judge_checks(value["checks"], value["milliseconds"], traits)
        case _:
            return Verdict(problem="it gave no proof that it holds")


def _judge_checks(checks: dict[Any, Any], milliseconds: float, traits: Traits) -> Verdict:
    if not all(isinstance(what, str) for what in checks.values()) or not 0 <= milliseconds < _MOST_MILLISECONDS:
        return Verdict(problem="it gave a malformed proof")
    failed = {name: printable(what)[:_SHOWN] for name, what in checks.items() if what and name in MEANINGS}
    failed |= dict.fromkeys(MEANINGS.keys() - checks.keys(), "was not tried")
    if unknown := checks.keys() - MEANINGS.keys():
        return Verdict(problem=f"it proved what was not asked: {len(unknown)} unknown checks")
    return Verdict(
        proven=True,
        failed={name: failed[name] for name in CHECKS if name in failed and name not in traits.excused},
        lacks=tuple(name for name in CHECKS if name in failed and name in traits.excused),
        milliseconds=float(milliseconds),
    )


def keep(home: Home, record: Record) -> None:
    """Write down what became of a proof, in place of the one before. Lost with the power is no harm."""
    directory = _directory(home)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"{record.folder}.{record.sandbox}.json"
    fresh = path.with_suffix(".new")
    fresh.write_bytes(_RECORD.dump_json(record))
    fresh.replace(path)


def last_proofs(home: Home, folder: Folder) -> list[Record]:
    """The last proof of a group in each kind of sandbox, the newest first; what cannot be read counts as none."""
    found: list[Record] = []
    for path in _directory(home).glob(f"{folder}.*.json"):
        try:
            found.append(_RECORD.validate_json(path.read_bytes()))
        except (OSError, ValueError):
            continue
    return sorted(found, key=lambda record: record.at, reverse=True)


def proof_json(record: Record) -> dict[str, Any]:
    """A proof as `nanoclaw status --json` shows it."""
    verdict = record.verdict
    return {
        "folder": record.folder,
        "sandbox": record.sandbox,
        "at": iso(record.at),
        "held": verdict.held,
        "failed": dict(verdict.failed),
        "problem": verdict.problem or None,
        "lacks": list(verdict.lacks),
        "milliseconds": verdict.milliseconds,
    }


def _directory(home: Home) -> Path:
    return home.run / "proofs"


def _forbidden(home: Home) -> list[Path]:
    """Places of the host; what lies below one that is not there cannot be reached either."""
    return [
        *(home.env, home.settings, home.registered_groups, home.database, home.whatsapp, home.credentials),
        *(home.groups, home.data, home.mailboxes, home.outgoing, home.run, home.logs, home.sockets),
        *(home.control_socket, home.lock, user_config_directory()),
    ]


def _claim(mount: Mount, traits: Traits) -> MountClaim:
    try:
        status = mount.source.stat()
    except OSError as error:
        raise MountError(f"{mount.source} cannot be mounted: {error.strerror}", "it was there a moment ago") from error
    identity = [status.st_dev, status.st_ino] if traits.shares_kernel else None
    return MountClaim(target=mount.target, readonly=mount.readonly, identity=identity)


def _limits(limits: Limits, traits: Traits) -> LimitClaims:
    groups = {"memory": limits.memory_bytes, "pids": limits.pids}
    processes = max(_PROCESSES_OF_A_USER, 8 * limits.pids)
    return LimitClaims(
        groups=groups if traits.shares_kernel and traits.limits_groups else {},
        rlimits={"CORE": 0, "FSIZE": limits.file_bytes, "NOFILE": limits.open_files, "NPROC": processes},
        tmp=limits.tmp_bytes if traits.shares_kernel else None,
    )


def _namespaces() -> dict[str, str]:
    return {name: os.readlink(f"/proc/self/ns/{name}") for name in _NAMESPACES}  # noqa: PTH115
