"""One mailbox on disk: claim what an agent wrote, read it, answer it, keep what was refused.

`data/ipc/<folder>/` is the host's; the sandbox sees it read-only, with the two inboxes writable inside it:

    messages/ tasks/    inboxes: the agent puts files here, atomically, as `*.json`
    claimed/            a file is renamed to here before it is looked at; no agent can reach it by name any more
    results/            the answers, each under the name of the file that it answers
    refused/            what was refused, for people to inspect, up to a limit

**Once.** A claimed file has a name that was never used before and never will be, and the directory is synced before
anything is applied. That name is the key of the command: the same for as long as the file exists, however often the
host dies between the effect and the removal of the file, and another one for the next file that an agent calls the
same. So neither inode numbers, nor times, nor contents have to be trusted for it.
"""

import json
import os
import re
import stat
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Final, Literal

from nanoclaw.errors import MailboxError
from nanoclaw.ipc import handles
from nanoclaw.ipc.commands import Command
from nanoclaw.ipc.handles import Entry
from nanoclaw.ipc.protocol import error_answer, parse
from nanoclaw.model import Folder
from nanoclaw.wire import AGENT_UID

INBOXES: Final = ("messages", "tasks")
CLAIMED: Final = "claimed"
RESULTS: Final = "results"
REFUSED: Final = "refused"

MAX_FILE_BYTES: Final = 1 << 20
FILES_AT_ONCE: Final = 50
"""Most that one look handles, so that a flood yields to everybody else between two looks."""
BYTES_AT_ONCE: Final = 1 << 20
KEPT_RESULTS: Final = 1000
KEPT_REFUSED: Final = 100
KEPT_REFUSED_BYTES: Final = 20 << 20

_LISTED_AT_ONCE = 1000  # names in one inbox; more is a flood, and temporary files lose their protection
_HALF_WRITTEN_SECONDS = 2.0  # a file without its last brace may still be on its way, when written in place
_FOREIGN_SECONDS = 10.0  # `x.json.tmp` may be somebody's temporary file, or somebody's mistake
_TEMPORARY_SECONDS = 600.0  # a name with a leading dot is a temporary file; after that nobody will rename it
_ANSWER_BYTES = 64 << 10
_OPEN_TO_ALL = 0o755  # what the agent reads or writes; its user is not the host's where the host runs as root
_PRIVATE = 0o700

_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,79}\.json")
_UNSAFE = re.compile(r"[^0-9A-Za-z._-]")
_LONGEST_NAME = 80
_NAME_RULE = (
    "a file's name must begin with a letter or digit, have only letters, digits and . _ -, at most 80, and end in .json"
)

Fate = Literal["claim", "refuse", "remove", "leave"]


@dataclass(frozen=True, slots=True)
class OpenMailbox:
    """The directories of one mailbox as open handles."""

    inboxes: dict[str, int]
    claimed: int
    results: int
    refused: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed file and what it says."""

    id: str
    """Its name in `claimed/`: unique for ever."""
    command: Command | MailboxError

    @property
    def name(self) -> str:
        """What the agent called it."""
        return self.id.split("-", 3)[-1]


@dataclass(slots=True)
class Haul:
    """What one look brought."""

    claims: list[Claim] = field(default_factory=list[Claim])
    refusals: list[str] = field(default_factory=list[str])
    """What was refused unread, a sentence each; answered already."""
    handled: int = 0
    """How many entries this look read or disposed of."""
    more: bool = False
    """Whether another look would bring more at once."""


def prepare(root: Path, folder: Folder) -> None:
    """Make the directories of a mailbox, or put right what is there.

    Raises:
        OSError: something else has one of the names (`ENOTDIR`, `ELOOP`), or the disk fails.
    """
    if not folder or folder.startswith(".") or "/" in folder:
        raise NotADirectoryError(f"{folder!r} is no folder of a group")
    root.mkdir(parents=True, exist_ok=True)
    with handles.directory(root) as parent, _made(parent, folder, _OPEN_TO_ALL) as top:
        for name in (CLAIMED, REFUSED):
            with _made(top, name, _PRIVATE):
                pass
        with _made(top, RESULTS, _OPEN_TO_ALL):
            pass
        for name in INBOXES:
            with _made(top, name, _OPEN_TO_ALL) as inbox:
                if os.geteuid() == 0:
                    os.fchown(inbox, AGENT_UID, AGENT_UID)


@contextmanager
def opened(root: Path, folder: Folder) -> Generator[OpenMailbox]:
    """Open every directory of a mailbox for as long as the context lasts, one step at a time."""
    with ExitStack() as stack:
        parent = stack.enter_context(handles.directory(root))
        top = stack.enter_context(handles.directory(parent, folder))
        for name in INBOXES:
            _unlock(top, name)
        by_name = {
            name: stack.enter_context(handles.directory(top, name)) for name in (*INBOXES, CLAIMED, RESULTS, REFUSED)
        }
        yield OpenMailbox(
            inboxes={name: by_name[name] for name in INBOXES},
            claimed=by_name[CLAIMED],
            results=by_name[RESULTS],
            refused=by_name[REFUSED],
        )


def is_empty(root: Path, folder: Folder) -> bool:
    """Whether there is nothing to look at. Only a hint, and as cheap as can be: it is asked every second."""
    for name in (*INBOXES, CLAIMED):
        try:
            with os.scandir(f"{root}/{folder}/{name}") as entries:
                if next(entries, None) is not None:
                    return False
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def collect(box: OpenMailbox, now: float, *, patient: bool) -> Haul:
    """Claim what lies in the inboxes, refuse what cannot be claimed, and read what is claimed.

    Args:
        box: the mailbox.
        now: seconds since 1970, as file times are.
        patient: whether to leave alone what may still be being written.

    Raises:
        OSError: the machine failed, e.g. the disk is full; nothing is lost.
    """
    haul = Haul()
    room = (FILES_AT_ONCE - len(handles.listing(box.claimed, FILES_AT_ONCE)[0])) // len(INBOXES)
    for inbox in INBOXES:
        _empty(box, inbox, room, now, patient, haul)
    _read_claimed(box, now, patient, haul)
    haul.more = haul.more and haul.handled > 0
    return haul


def finish(box: OpenMailbox, claim: Claim, answer: bytes, *, refused: bool) -> None:
    """Answer a claimed file and put it away. Done twice, it changes nothing.

    What took effect is claimed until it is answered; what is refused goes first, since it may be what fills the disk.

    Raises:
        OSError: it was not answered.
    """
    with suppress(FileNotFoundError):
        if refused:
            _put_away(box, box.claimed, claim.id, claim.id)
    handles.write_whole(box.results, claim.name, answer)
    with suppress(FileNotFoundError):
        handles.remove(box.claimed, claim.id)


def encode(answer: dict[str, object]) -> bytes:
    """An answer as it lies in its file."""
    return json.dumps(answer, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def tidy(box: OpenMailbox) -> None:
    """Forget the oldest answers and the oldest refused files."""
    if handles.count(box.results) > KEPT_RESULTS:
        handles.prune(box.results, KEPT_RESULTS, KEPT_RESULTS * _ANSWER_BYTES)
    handles.prune(box.refused, KEPT_REFUSED, KEPT_REFUSED_BYTES)


def judge(entry: Entry, now: float, *, patient: bool, flooded: bool) -> Fate:
    """What to do with an entry of an inbox. Pure."""
    age = abs(now - entry.status.st_ctime)  # a clock that was set back makes nothing young for ever
    if entry.name.startswith(handles.DOOMED):
        return "remove"
    if entry.name.startswith("."):
        return "leave" if not flooded and age < _TEMPORARY_SECONDS else "remove"
    if not entry.name.endswith(".json"):
        return "leave" if patient and not flooded and age < _FOREIGN_SECONDS else "refuse"
    return "claim" if stat.S_ISREG(entry.status.st_mode) and _NAME.fullmatch(entry.name) else "refuse"


@contextmanager
def _made(parent: int, name: str, mode: int) -> Generator[int]:
    with suppress(FileExistsError):
        os.mkdir(name, mode, dir_fd=parent)
    handles.set_mode(parent, name, mode)
    with handles.directory(parent, name) as handle:
        yield handle


def _unlock(top: int, inbox: str) -> None:
    """The agent owns its inboxes, and may have locked one against a host that runs as the same user."""
    status = os.stat(inbox, dir_fd=top, follow_symlinks=False)
    if stat.S_IMODE(status.st_mode) != _OPEN_TO_ALL:
        handles.set_mode(top, inbox, _OPEN_TO_ALL)


def _empty(box: OpenMailbox, inbox: str, room: int, now: float, patient: bool, haul: Haul) -> None:
    source = box.inboxes[inbox]
    entries, flooded = handles.listing(source, _LISTED_AT_ONCE)
    for entry in entries:
        fate = judge(entry, now, patient=patient, flooded=flooded)
        if fate == "leave":
            continue
        if room <= 0:
            haul.more = True
            return
        room -= 1
        with handles.tolerating_swaps():
            if fate == "claim":
                os.rename(entry.name, _new_id(inbox, entry), src_dir_fd=source, dst_dir_fd=box.claimed)
                continue
            if fate == "refuse":
                haul.refusals.append(_refuse(box, inbox, entry))
            else:
                handles.remove(source, entry.name)
            haul.handled += 1
            haul.more |= stat.S_ISDIR(entry.status.st_mode)  # a tree may take several goes


def _read_claimed(box: OpenMailbox, now: float, patient: bool, haul: Haul) -> None:
    entries, longer = handles.listing(box.claimed, FILES_AT_ONCE)
    haul.more |= longer
    if entries:
        handles.sync(box.claimed)  # a journal carries both halves of a rename
    size = 0
    for entry in entries:
        if size >= BYTES_AT_ONCE:
            haul.more = True
            return
        if entry.name.startswith(handles.DOOMED):
            with handles.tolerating_swaps():
                handles.remove(box.claimed, entry.name)
            continue
        size += min(entry.status.st_size, MAX_FILE_BYTES)
        may_wait = patient and abs(now - entry.status.st_ctime) < _HALF_WRITTEN_SECONDS
        if claim := _read(box.claimed, entry.name, may_wait=may_wait):
            haul.claims.append(claim)
            haul.handled += 1


def _read(claimed: int, name: str, *, may_wait: bool) -> Claim | None:
    try:
        content = handles.read_regular(claimed, name, MAX_FILE_BYTES)
        if may_wait and not content.rstrip().endswith(b"}"):
            return None
        return Claim(name, parse(content))
    except MailboxError as error:
        return Claim(name, error)


def _refuse(box: OpenMailbox, inbox: str, entry: Entry) -> str:
    named_well = _NAME.fullmatch(entry.name)
    why = f"it is {handles.kind(entry.status.st_mode)}; write a regular file" if named_well else _NAME_RULE
    name = _safe_name(entry.name)
    _put_away(box, box.inboxes[inbox], entry.name, _new_id(inbox, entry))
    handles.write_whole(box.results, name, encode(error_answer(why)))
    return f"{name}: {why}"


def _put_away(box: OpenMailbox, parent: int, name: str, keep_as: str) -> None:
    """Keep what is cheap to keep; delete directories, pipes, gigabytes and what is still linked from elsewhere."""
    if not _is_cheap(parent, name):
        handles.remove(parent, name)
        return
    os.rename(name, keep_as, src_dir_fd=parent, dst_dir_fd=box.refused)
    if not _is_cheap(box.refused, keep_as):  # the agent swapped it in between
        handles.remove(box.refused, keep_as)


def _is_cheap(parent: int, name: str) -> bool:
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_size <= MAX_FILE_BYTES


def _new_id(inbox: str, entry: Entry) -> str:
    return f"{entry.status.st_ctime_ns:020d}-{token_hex(8)}-{inbox}-{_safe_name(entry.name)}"


def _safe_name(name: str) -> str:
    if _NAME.fullmatch(name):
        return name
    stem = _UNSAFE.sub("_", name.removesuffix(".json"))[:_LONGEST_NAME].lstrip("._-")
    return f"{stem or 'unnamed'}.json"
