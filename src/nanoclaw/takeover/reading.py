"""What a NanoClaw directory holds, whichever of its two shapes it has.

Until the middle of February 2026 groups, sessions and cursors were JSON files in `data/`; later they are tables in
`store/messages.db`, and the files, if any are left, are called `*.json.migrated`. Messages and tasks were always there.
"""

import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from nanoclaw.config import SECRET_NAMES
from nanoclaw.errors import ConfigError, UsageError
from nanoclaw.store.predecessor import Row, predecessor

_DATABASE: Final = Path("store") / "messages.db"
_DEFAULT_NAME: Final = "Andy"


@dataclass(frozen=True, kw_only=True, slots=True)
class Predecessor:
    """A NanoClaw as it was found; every value as it stood there."""

    directory: Path
    groups: dict[str, dict[str, Any]]
    """By jid, in the shape of `registered_groups.json`."""
    sessions: dict[str, str]
    """Claude's session to resume, by folder."""
    answered: dict[str, str]
    """Until when a chat's messages were answered, by jid."""
    chats: list[Row]
    messages: list[Row]
    tasks: list[Row]
    environment: dict[str, str] = field(repr=False)
    """Its `.env`."""

    @property
    def assistant_name(self) -> str:
        """What the assistant is called there; its own messages begin with it."""
        return self.environment.get("ASSISTANT_NAME") or _DEFAULT_NAME

    @property
    def secrets(self) -> dict[str, str]:
        """Those names of its `.env` that we read too."""
        return {name: self.environment[name] for name in SECRET_NAMES if self.environment.get(name)}


def read_predecessor(directory: Path) -> Predecessor:
    """Read everything; the directory is not touched.

    Raises:
        UsageError: there is no NanoClaw in it.
        ConfigError: one of its files is broken.
        StoreError: its database is.
    """
    tables = _tables(directory / _DATABASE)
    state = _router_state(directory, tables["router_state"])
    found = Predecessor(
        directory=directory,
        groups=_groups(directory, tables["registered_groups"]),
        sessions={row["group_folder"]: row["session_id"] for row in tables["sessions"]}
        or _texts(_json(directory / "data" / "sessions.json")),
        answered=_texts(state.get("last_agent_timestamp", {})),
        chats=tables["chats"],
        messages=tables["messages"],
        tasks=tables["scheduled_tasks"],
        environment=_environment(directory / ".env"),
    )
    if not found.groups and not found.messages:
        raise UsageError(
            f"there is no NanoClaw in {directory}: neither groups nor messages",
            "name the directory that has data/, groups/ and store/ in it",
        )
    return found


def _tables(path: Path) -> dict[str, list[Row]]:
    """Read from a copy: opening a database may change it, and NanoClaw's write-ahead log belongs to it."""
    with tempfile.TemporaryDirectory(prefix="nanoclaw-migrate-") as temporary:
        copy = Path(temporary) / path.name
        for suffix in ("", "-wal"):
            source = path.with_name(path.name + suffix)
            if source.is_file():
                shutil.copyfile(source, copy.with_name(copy.name + suffix))
        with predecessor(copy) as tables:
            return tables


def _groups(directory: Path, rows: list[Row]) -> dict[str, dict[str, Any]]:
    if rows:
        return {row["jid"]: _entry(row) for row in rows}
    found = _json(directory / "data" / "registered_groups.json")
    return {jid: cast("dict[str, Any]", entry) for jid, entry in found.items() if isinstance(entry, dict)}


def _entry(row: Row) -> dict[str, Any]:
    entry = {
        "name": row["name"],
        "folder": row["folder"],
        "trigger": row["trigger_pattern"],
        "added_at": row["added_at"],
    }
    if row.get("requires_trigger") is not None:
        entry["requiresTrigger"] = row["requires_trigger"] == 1
    if row.get("container_config"):
        entry["containerConfig"] = json.loads(row["container_config"])
    return entry


def _router_state(directory: Path, rows: list[Row]) -> dict[str, Any]:
    values = {row["key"]: row["value"] for row in rows}
    if "last_agent_timestamp" in values:
        return {"last_agent_timestamp": json.loads(values["last_agent_timestamp"])}
    return _json(directory / "data" / "router_state.json")


def _texts(value: object) -> dict[str, str]:
    items = cast("dict[Any, Any]", value).items() if isinstance(value, dict) else ()
    return {key: text for key, text in items if isinstance(key, str) and isinstance(text, str)}


def _json(path: Path) -> dict[str, Any]:
    try:
        loaded: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "repair it, or move it away to leave it out") from error
    return cast("dict[str, Any]", loaded) if isinstance(loaded, dict) else {}


def _environment(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.strip().removeprefix("export ").partition("=") for line in lines if not line.strip().startswith("#"))
    return {name.strip(): value.strip().strip("'\"") for name, equals, value in pairs if equals}
