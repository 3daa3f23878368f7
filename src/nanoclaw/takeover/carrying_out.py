"""Does what a plan says. Whatever fails, a second try goes on where the first one ended."""

import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from nanoclaw.atomic import replace_file
from nanoclaw.config import Home, Settings, load_settings
from nanoclaw.errors import ConfigError
from nanoclaw.firstfiles import GROUP_MEMORY
from nanoclaw.groups import Entries, change_groups, load_groups
from nanoclaw.initialise import GLOBAL_MEMORY, initialise
from nanoclaw.lock import only_writer
from nanoclaw.model import MAIN_FOLDER, InboundMessage
from nanoclaw.providers import DEFAULT_PROVIDER
from nanoclaw.sandbox.mounts import agent_owner
from nanoclaw.store import carried, messages, tasks
from nanoclaw.store.database import Connection, connect, transaction
from nanoclaw.takeover.plan import LOCAL_MAIN, Copy, Plan, Said

_ACCOUNT: Final = "nanoclaw"
_MEMORY: Final = "CLAUDE.md"
_NOT_COPIED: Final = shutil.ignore_patterns("logs")
"""NanoClaw put its own run logs into a group's directory."""


def carry_out(plan: Plan, home: Home, now: datetime, tell: Callable[[str], None]) -> None:
    """Do it; `tell` hears of each step.

    Raises:
        HostError: a host runs on this home.
        ConfigError: the home's own files are broken.
        StoreError: its database is.
        OSError: a directory cannot be copied.
    """
    initialise(home)
    with only_writer(home):
        for copy in plan.copies:
            tell(_carry_over(copy))
        _register(plan, home)
        connection = connect(home.database, now)
        try:
            with transaction(connection):
                _fill(connection, plan, home)
        finally:
            connection.close()
        tell(f"{len(plan.said)} messages and {len(plan.tasks)} tasks")
        _keep_settings(plan, home)


def _carry_over(copy: Copy) -> str:
    """Links are copied as links; what an agent owned belongs to agents again."""
    if copy.target.is_dir() and not (copy.replaces_first_memory and _is_new(copy.target)):
        return f"{copy.target} is there already and stays as it is"
    unfinished = copy.target.with_name(f".{copy.target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copytree(copy.source, unfinished, symlinks=True, ignore=_NOT_COPIED, ignore_dangling_symlinks=True)
    for path in (unfinished, *unfinished.rglob("*")):
        os.chown(path, *agent_owner(), follow_symlinks=False)
    shutil.rmtree(copy.target, ignore_errors=True)
    unfinished.rename(copy.target)
    return f"{copy.source} → {copy.target}"


def _is_new(directory: Path) -> bool:
    """Whether there is nothing in it but the first memory that we write ourselves."""
    if [entry.name for entry in directory.iterdir()] not in ([], [_MEMORY]):
        return False
    memory = directory / _MEMORY
    return not memory.exists() or memory.read_text(encoding="utf-8") in (GLOBAL_MEMORY, GROUP_MEMORY)


def _register(plan: Plan, home: Home) -> None:
    def register(entries: Entries) -> None:
        if any(entry.get("folder") == MAIN_FOLDER for entry in plan.entries.values()):
            entries.pop(LOCAL_MAIN, None)
        entries.update(plan.entries)

    if plan.entries:
        change_groups(home.registered_groups, register)


def _fill(db: Connection, plan: Plan, home: Home) -> None:
    chats = {group.folder: jid for jid, group in load_groups(home.registered_groups).items()}
    names = {known.chat: known.name for known in plan.chats}
    for said in plan.said:
        if said.ours:
            carried.add_reply(db, f"carried:{said.chat}:{said.ext_id}", said.chat, said.text, said.at)
        else:
            messages.insert(db, _inbound(said, names.get(said.chat, said.chat)), said.at)
    for known in plan.chats:
        messages.note_chat(db, known.chat, "whatsapp", known.name, known.last_at)
    for folder, until in plan.answered.items():
        carried.set_answered(db, folder, chats[folder], until)
    for folder, session in plan.sessions.items():
        carried.set_session(db, folder, DEFAULT_PROVIDER, session)
    for task in plan.tasks:
        if tasks.get(db, task.id) is None:
            tasks.add(db, task)


def _inbound(said: Said, chat_name: str) -> InboundMessage:
    return InboundMessage(
        channel="whatsapp",
        account=_ACCOUNT,
        chat=said.chat,
        chat_name=chat_name,
        sender=said.sender,
        sender_name=said.sender_name,
        ext_id=said.ext_id,
        text=said.text,
        sent_at=said.at,
    )


def _keep_settings(plan: Plan, home: Home) -> None:
    """Keys that the home has not, and the assistant's name, if nobody has chosen one here."""
    text = home.env.read_text(encoding="utf-8")
    present = {line.partition("=")[0].strip() for line in text.splitlines() if not line.lstrip().startswith("#")}
    added = "".join(f"{name}={value}\n" for name, value in plan.secrets.items() if name not in present)
    if added:
        replace_file(home.env, text.rstrip("\n") + "\n" + added)
    if plan.assistant_name != Settings().assistant_name == load_settings(home).assistant_name:
        settings = home.settings.read_text(encoding="utf-8")
        if not plan.assistant_name.isprintable() or '"' in plan.assistant_name or "\\" in plan.assistant_name:
            raise ConfigError(f"the assistant's name {plan.assistant_name!r} cannot be", "set assistant_name by hand")
        replace_file(home.settings, f'assistant_name = "{plan.assistant_name}"\n{settings}', 0o644)
