"""What becomes of what was found. It looks at which directories are there, and changes nothing."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast, get_args

from nanoclaw.clock import from_iso
from nanoclaw.config import Home
from nanoclaw.errors import ConfigError, ScheduleError
from nanoclaw.groups import Entries, parse_groups
from nanoclaw.model import MAIN_FOLDER, ContextMode, Folder, Jid, RegisteredGroup, ScheduledTask, TaskId, TaskState
from nanoclaw.providers import DEFAULT_PROVIDER, PROVIDERS
from nanoclaw.schedule import ScheduleType, first_due, parse_schedule
from nanoclaw.store.predecessor import Row
from nanoclaw.takeover.reading import Predecessor

LOCAL_MAIN: Final = Jid("local:main")


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """A directory to copy."""

    source: Path
    target: Path
    replaces_first_memory: bool = False
    """Whether the target may be there already, as a new home has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """A message of old: somebody's, or the assistant's own."""

    chat: Jid
    ext_id: str
    sender: str
    sender_name: str
    text: str
    at: datetime
    ours: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownName:
    """A chat that was heard of."""

    chat: Jid
    name: str
    last_at: datetime


@dataclass(slots=True)
class Plan:
    """Everything that will be done, and in `notes` what will not, and why: a sentence each."""

    entries: Entries = field(default_factory=dict[str, dict[str, Any]])
    copies: list[Copy] = field(default_factory=list[Copy])
    chats: list[KnownName] = field(default_factory=list[KnownName])
    said: list[Said] = field(default_factory=list[Said])
    answered: dict[Folder, datetime] = field(default_factory=dict[Folder, datetime])
    sessions: dict[Folder, str] = field(default_factory=dict[Folder, str])
    tasks: list[ScheduledTask] = field(default_factory=list[ScheduledTask])
    secrets: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    assistant_name: str = ""
    notes: list[str] = field(default_factory=list[str])


def make_plan(
    found: Predecessor, home: Home, existing: dict[Jid, RegisteredGroup], timezone: str, now: datetime
) -> Plan:
    """Decide what becomes of a NanoClaw.

    Args:
        found: what is there.
        home: where it goes.
        existing: the groups that the home has already.
        timezone: IANA name, in which its schedules were meant.
        now: a schedule's next time comes after it.
    """
    plan = Plan(secrets=found.secrets, assistant_name=found.assistant_name)
    folders = _plan_groups(plan, found, existing)
    _plan_directories(plan, found, home, folders)
    _plan_messages(plan, found, folders)
    _plan_tasks(plan, found, set(folders.values()), timezone, now)
    plan.sessions = {folder: found.sessions[folder] for folder in folders.values() if folder in found.sessions}
    if any(jid.endswith(("@g.us", "@s.whatsapp.net", "@lid")) for jid in folders):
        plan.notes.append(
            "WhatsApp must be linked anew: `nanoclaw auth login whatsapp`; remove the old device on the phone"
        )
    return plan


def _plan_groups(plan: Plan, found: Predecessor, existing: dict[Jid, RegisteredGroup]) -> dict[Jid, Folder]:
    """Answers the folder of every chat that is taken over."""
    owners = {group.folder: jid for jid, group in existing.items() if jid != LOCAL_MAIN or group.folder != MAIN_FOLDER}
    folders: dict[Jid, Folder] = {}
    for jid, entry in found.groups.items():
        try:
            (group,) = parse_groups(json.dumps({jid: entry}), found.directory).values()
        except ConfigError as error:
            plan.notes.append(f"the group {jid} is left out: {error}")
            continue
        if owners.setdefault(group.folder, group.jid) != group.jid:
            plan.notes.append(f"the group {jid} is left out: the folder {group.folder} belongs to another chat here")
            continue
        folders[group.jid] = group.folder
        if group.jid not in existing:
            plan.entries[jid] = entry
    return folders


def _plan_directories(plan: Plan, found: Predecessor, home: Home, folders: dict[Jid, Folder]) -> None:
    claude = PROVIDERS[DEFAULT_PROVIDER].host_home
    wanted = [
        Copy(source=found.directory / "groups" / "global", target=home.groups / "global", replaces_first_memory=True),
        *(
            Copy(source=found.directory / "groups" / folder, target=home.groups / folder, replaces_first_memory=True)
            for folder in folders.values()
        ),
        *(
            Copy(
                source=found.directory / "data" / claude.format(folder=folder),
                target=home.data / claude.format(folder=folder),
            )
            for folder in folders.values()
        ),
    ]
    plan.copies = [copy for copy in wanted if copy.source.is_dir()]


def _plan_messages(plan: Plan, found: Predecessor, folders: dict[Jid, Folder]) -> None:
    for row in found.chats:
        at = _instant(row.get("last_message_time"))
        if at is not None and not row["jid"].startswith("__"):
            plan.chats.append(KnownName(chat=Jid(row["jid"]), name=row.get("name") or row["jid"], last_at=at))
    rows = [row for row in found.messages if row["chat_jid"] in folders]
    plan.said = sorted(_said(rows, f"{found.assistant_name}:"), key=lambda said: said.at)
    if broken := sum(1 for row in rows if row.get("content")) - len(plan.said):
        plan.notes.append(f"{broken} messages have no readable time and are left out")
    for jid, folder in folders.items():
        if at := _instant(found.answered.get(jid)):
            plan.answered[folder] = at
    waiting = sum(not said.ours and said.at > plan.answered.get(folders[said.chat], said.at) for said in plan.said)
    if waiting:
        plan.notes.append(
            f"{waiting} messages were not answered there; they are context for the next answer and wake nobody"
        )


def _said(rows: list[Row], prefix: str) -> Iterator[Said]:
    for row in rows:
        text, at = row.get("content") or "", _instant(row.get("timestamp"))
        if not text or at is None:
            continue
        ours = bool(row.get("is_bot_message")) or text.startswith(prefix)
        sender = row.get("sender") or row["chat_jid"]
        yield Said(
            chat=Jid(row["chat_jid"]),
            ext_id=str(row["id"]),
            sender=sender,
            sender_name=row.get("sender_name") or sender.partition("@")[0],
            text=text.removeprefix(prefix).strip() if ours else text,
            at=at,
            ours=ours,
        )


def _plan_tasks(plan: Plan, found: Predecessor, folders: set[Folder], timezone: str, now: datetime) -> None:
    for row in found.tasks:
        if row.get("status") == "completed":
            continue
        what = f"the task {row['id']} of {row['group_folder']}"
        if row["group_folder"] not in folders:
            plan.notes.append(f"{what} is left out: its group is not there")
            continue
        try:
            task = _task(row, timezone, now)
        except ScheduleError as error:
            plan.notes.append(f"{what} is left out: {error}")
            continue
        if task is None:
            plan.notes.append(f"{what} is left out: its time, {row['schedule_value']}, has passed")
        else:
            plan.tasks.append(task)


def _task(row: Row, timezone: str, now: datetime) -> ScheduledTask | None:
    kind = cast("ScheduleType", row["schedule_type"])
    if kind not in get_args(ScheduleType):
        raise ScheduleError(f"its schedule type {str(kind)[:40]!r} is unknown")
    schedule = parse_schedule(kind, str(row["schedule_value"]), timezone)
    stored = _instant(row.get("next_run"))
    next_at = stored if kind == "interval" and stored is not None and stored > now else first_due(schedule, now)
    if next_at is None:
        return None
    mode = row.get("context_mode")
    return ScheduledTask(
        id=TaskId(str(row["id"])),
        folder=Folder(row["group_folder"]),
        prompt=row["prompt"],
        schedule_type=schedule.type,
        schedule_value=schedule.value,
        timezone=schedule.timezone,
        context_mode=cast("ContextMode", mode) if mode in get_args(ContextMode) else "isolated",
        missed="coalesce",
        state=TaskState.PAUSED if row.get("status") == "paused" else TaskState.ACTIVE,
        next_at=next_at,
        created_at=_instant(row.get("created_at")) or now,
    )


def _instant(value: object) -> datetime | None:
    try:
        return from_iso(value) if isinstance(value, str) and value else None
    except ValueError:
        return None
