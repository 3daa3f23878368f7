"""What needs the owner: pure, from what the host knows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nanoclaw.credentials.accounts import SignIns
from nanoclaw.credentials.store import HOST
from nanoclaw.errors import NanoclawError
from nanoclaw.formatting import shorten
from nanoclaw.model import OutboxState
from nanoclaw.privacy import ROOT_HINT
from nanoclaw.providers import PROVIDERS
from nanoclaw.sandbox.proof import MEANINGS
from nanoclaw.store.conversation import GroupActivity, Lost

LITTLE_ROOM: Final = 1 << 30
"""Free bytes, below which the disk is a matter of attention: an image needs as much."""

_FAILURES: Final = 3
"""So often in a row a task fails before it is a matter of attention: the chat is told then, too."""
_PROMPT: Final = 60
_BY_A_PERSON: Final = "stopped"
_LOST: Final = "nanoclaw runs undelivered"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that is wrong, or wants a look."""

    what: str
    cure: str = ""
    """What to do about it; mostly a command."""
    link: str = ""
    """Where on the page it can be seen or mended."""
    grave: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """All that findings are made of."""

    status: Mapping[str, Any]
    """As `nanoclaw status --json` has it."""
    activities: Sequence[GroupActivity]
    lost: Sequence[Lost]
    """Of the last days."""
    failing_tasks: Sequence[tuple[str, str, int]]
    """Id, prompt, and how often in a row it has failed."""
    sign_ins: SignIns | NanoclawError
    """Or why nothing is known of them."""
    free_bytes: int


def findings(known: Known) -> list[Finding]:
    """Everything that needs attention, the gravest first."""
    found = [
        *_of_host(known.status, known.free_bytes),
        *_of_channels(known.status),
        *_of_sign_ins(known.sign_ins),
        *_of_proofs(known.status),
        *_of_groups(known.activities),
        *_of_answers(known.lost),
        *_of_tasks(known.failing_tasks),
        *_of_network(known.status),
    ]
    return sorted(found, key=lambda finding: not finding.grave)


def _of_host(status: Mapping[str, Any], free_bytes: int) -> Iterator[Finding]:
    sandbox = status["sandbox"]
    if status["host"]["problem"]:
        yield Finding(what=_sentence(status["host"]["problem"]), cure="nanoclaw logs", grave=False)
    if sandbox["problem"]:
        yield Finding(what=f"No agent can run: {sandbox['problem']}", cure="nanoclaw doctor")
    if sandbox["warning"]:
        yield Finding(what=sandbox["warning"], cure="nanoclaw doctor", grave=False)
    if status["groups_problem"]:
        yield Finding(
            what=f"The last edit of the groups file was refused: {status['groups_problem']}",
            cure="correct the place it names; until then the groups are as they were before",
        )
    if free_bytes < LITTLE_ROOM:
        yield Finding(
            what=f"The disk is nearly full: {free_bytes >> 20} MB are free",
            cure="make room; without it nothing can be stored, and agents are not started",
        )
    if status["host"]["root"]:
        yield Finding(what="The host runs as root: its mistakes would be root's", cure=ROOT_HINT, grave=False)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _of_channels(status: Mapping[str, Any]) -> Iterator[Finding]:
    for channel in status["channels"]:
        if channel["problem"]:
            link = "/whatsapp" if channel["name"] == "whatsapp" else ""
            yield Finding(what=f"{channel['name']}: {channel['problem']}", cure=channel["hint"] or "", link=link)


def _of_sign_ins(found: SignIns | NanoclawError) -> Iterator[Finding]:
    if isinstance(found, NanoclawError):
        yield Finding(what=f"The sign-ins cannot be read: {found}", cure=found.hint, link="/signins")
        return
    for account in found.accounts:
        if account.problem:
            whose = "" if account.where == HOST else f" of {account.where}"
            what = f"The sign-in to {PROVIDERS[account.provider].title}{whose} does not work: {account.problem}"
            yield Finding(what=what, cure=account.hint, link="/signins")
    for why, hint, folders in _without_sign_in(found):
        yield Finding(what=f"{_listed(folders)} cannot answer: {why}", cure=hint, link="/signins")
    for refused in found.refused:
        what = f"A login appeared in {refused.folder} while its agent was at work, and is not used"
        yield Finding(what=what, cure=refused.hint, link=f"/audit?group={refused.folder}")


def _without_sign_in(found: SignIns) -> list[tuple[str, str, list[str]]]:
    """Why groups cannot sign in, with the groups: one missing login is one finding, however many wait for it."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for group in found.groups:
        if group.problem:
            by_reason.setdefault((group.problem, group.hint), []).append(group.folder)
    return [(why, hint, folders) for (why, hint), folders in by_reason.items()]


def _listed(folders: Sequence[str]) -> str:
    shown = ", ".join(folders[:3])
    more = len(folders) - 3
    return f"{shown} and {more} more" if more > 0 else shown


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _of_proofs(status: Mapping[str, Any]) -> Iterator[Finding]:
    newest: dict[str, Mapping[str, Any]] = {}
    for proof in status["sandbox"]["proofs"]:  # the newest of a group first
        newest.setdefault(proof["folder"], proof)
    for folder, proof in newest.items():
        if proof["held"]:
            continue
        failed = [f"{check} ({MEANINGS.get(check, 'see the log')})" for check in proof["failed"]]
        why = proof["problem"] or "; ".join(failed)
        yield Finding(
            what=f"The sandbox of {folder} ({proof['sandbox']}) did not hold, so nothing ran: {why}",
            cure="nanoclaw doctor",
            link=f"/audit?group={folder}",
        )


def _of_groups(activities: Sequence[GroupActivity]) -> Iterator[Finding]:
    for activity in activities:
        if activity.last_failure and activity.last_failure != _BY_A_PERSON and not activity.running:
            yield Finding(
                what=f"The last answer in {activity.folder} failed: {activity.last_failure.replace('_', ' ')}",
                cure=f"nanoclaw runs retry {activity.folder}",
                link=f"/runs/{activity.last_run}",
            )


def _of_answers(lost: Sequence[Lost]) -> Iterator[Finding]:
    failed = sum(each.state is OutboxState.FAILED for each in lost)
    if failed:
        what = f"{_counted(failed, 'answer')} of the last days did not arrive"
        yield Finding(what=what, cure=_LOST, link="/undelivered")
    if unknown := len(lost) - failed:
        what = f"Nobody knows whether {_counted(unknown, 'answer')} of the last days did arrive"
        yield Finding(what=what, cure=_LOST, link="/undelivered", grave=False)


def _of_tasks(failing: Sequence[tuple[str, str, int]]) -> Iterator[Finding]:
    for task_id, prompt, failures in failing:
        if failures >= _FAILURES:
            yield Finding(
                what=f"A task has failed {failures} times in a row: {shorten(prompt, _PROMPT)}",
                cure=f"nanoclaw tasks show {task_id}",
                link=f"/tasks/{task_id}",
            )


def _of_network(status: Mapping[str, Any]) -> Iterator[Finding]:
    for folder, counts in status["network"].items():
        if counts["refused"]:
            yield Finding(
                what=f"{_counted(counts['refused'], 'request')} of {folder} refused today",
                cure=f"nanoclaw network log {folder} --denied",
                link=f"/audit?group={folder}",
                grave=False,
            )
