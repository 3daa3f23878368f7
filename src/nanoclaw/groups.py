"""`data/registered_groups.json`: load, validate, change atomically, pick up hand edits.

The file is people's as much as the host's: unknown fields are kept, a broken edit is refused as a whole with file, key
and reason, and the last good state stays in force.
"""

import difflib
import fcntl
import json
import math
import re
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast, get_args

import anyio
import anyio.to_thread

from nanoclaw.atomic import replace_file
from nanoclaw.errors import ConfigError, NotFoundError
from nanoclaw.hosts import parse_pattern
from nanoclaw.model import (
    AdditionalMount,
    AuthMethod,
    Budget,
    ClaudeConfig,
    CodexConfig,
    Folder,
    Jid,
    NetworkConfig,
    NetworkPolicy,
    RegisteredGroup,
    SenderPolicy,
)
from nanoclaw.providers import DEFAULT_PROVIDER, PROVIDER_NAMES
from nanoclaw.pulse import Pulse
from nanoclaw.wire import ApprovalPolicy

Entries = dict[str, Any]
"""The file as it stands: entries by jid."""

RESERVED_FOLDERS: Final = frozenset({"global"})
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_POLL_SECONDS = 2.0  # the net below the watcher; a stat costs microseconds

T = TypeVar("T", bound=str)


def parse_groups(text: str, path: Path) -> dict[Jid, RegisteredGroup]:
    """Check the whole file.

    Raises:
        ConfigError: names the file, the key and the reason.
    """
    return _validate(parse_entries(text, path), path)


def parse_entries(text: str, path: Path) -> Entries:
    """The file as JSON: an object of objects, no key twice.

    Raises:
        ConfigError: it is none.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise ConfigError(f"{path}: key {twice!r} stands twice", "keep one of the two")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid JSON: {error}", "correct the place it names") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must hold an object keyed by jid", "{} is an empty one")
    return cast("Entries", value)


def _validate(entries: Entries, path: Path) -> dict[Jid, RegisteredGroup]:
    groups: dict[Jid, RegisteredGroup] = {}
    owners: dict[Folder, str] = {}
    for jid, entry in entries.items():
        group = _Entry(path, jid, entry).group()
        if (other := owners.setdefault(group.folder, jid)) != jid:
            raise ConfigError(
                f"{path}: {jid}: folder {group.folder!r} belongs to {other} already",
                "every group has a folder of its own",
            )
        groups[group.jid] = group
    return groups


class _Entry:
    """One entry of the file, read key by key so that an error can name the key."""

    def __init__(self, path: Path, jid: str, entry: object) -> None:
        self._where = f"{path}: {jid}"
        if not jid.strip():
            raise ConfigError(f"{path}: a jid is empty", "the key is the chat's address, e.g. local:family")
        self._jid = jid
        self._entry = self._object("", entry)

    def group(self) -> RegisteredGroup:
        config = self._object("providerConfig", self._entry.get("providerConfig", {}))
        container = self._object("containerConfig", self._entry.get("containerConfig", {}))
        return RegisteredGroup(
            jid=Jid(self._jid),
            name=self._text("name", self._entry.get("name")),
            folder=check_folder(self._text("folder", self._entry.get("folder")), f"{self._where}: folder"),
            trigger=self._text("trigger", self._entry.get("trigger")),
            added_at=self._text("added_at", self._entry.get("added_at", "unknown")),
            requires_trigger=self._flag("requiresTrigger", self._entry.get("requiresTrigger", True)),
            provider=self._choice("provider", self._entry.get("provider", DEFAULT_PROVIDER), PROVIDER_NAMES),
            codex=self._codex(self._object("providerConfig.codex", config.get("codex", {}))),
            claude=self._claude(self._object("providerConfig.claude", config.get("claude", {}))),
            additional_mounts=self._mounts(container.get("additionalMounts", [])),
            timeout_ms=self._timeout(container.get("timeout")),
            budget=self._budget(self._object("budget", self._entry.get("budget", {}))),
            senders=self._senders(self._entry.get("senders")),
            network=self._network(self._object("network", self._entry.get("network", {}))),
            raw=dict(self._entry),
        )

    def _codex(self, config: dict[str, Any]) -> CodexConfig:
        where = "providerConfig.codex"
        method = config.get("authMethod")
        return CodexConfig(
            approval_policy=self._policy(where, config),
            auth_method=None if method is None else self._choice(f"{where}.authMethod", method, get_args(AuthMethod)),
            model=self._model(where, config),
        )

    def _claude(self, config: dict[str, Any]) -> ClaudeConfig:
        where = "providerConfig.claude"
        return ClaudeConfig(approval_policy=self._policy(where, config), model=self._model(where, config))

    def _policy(self, where: str, config: dict[str, Any]) -> ApprovalPolicy:
        return self._choice(f"{where}.approvalPolicy", config.get("approvalPolicy", "auto"), get_args(ApprovalPolicy))

    def _model(self, where: str, config: dict[str, Any]) -> str | None:
        model = config.get("model")
        return None if model is None else self._text(f"{where}.model", model)

    def _mounts(self, value: object) -> tuple[AdditionalMount, ...]:
        if not isinstance(value, list):
            raise self._wrong("containerConfig.additionalMounts", value, "a list")
        return tuple(self._mount(number, entry) for number, entry in enumerate(cast("list[object]", value)))

    def _mount(self, number: int, value: object) -> AdditionalMount:
        where = f"containerConfig.additionalMounts[{number}]"
        entry = self._object(where, value)
        host_path = self._text(f"{where}.hostPath", entry.get("hostPath"))
        return AdditionalMount(
            host_path=host_path,
            container_path=self._text(f"{where}.containerPath", entry.get("containerPath", Path(host_path).name)),
            readonly=self._flag(f"{where}.readonly", entry.get("readonly", True)),
        )

    def _budget(self, config: dict[str, Any]) -> Budget:
        tokens = self._positive("budget.tokensPerDay", config.get("tokensPerDay"))
        if tokens is not None and not isinstance(tokens, int):
            raise self._wrong("budget.tokensPerDay", tokens, "a whole number")
        return Budget(tokens_per_day=tokens, usd_per_day=self._positive("budget.usdPerDay", config.get("usdPerDay")))

    def _positive(self, key: str, value: object) -> int | float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise self._wrong(key, value, "a number greater than 0")
        return value

    def _timeout(self, value: object) -> int | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise self._wrong("containerConfig.timeout", value, "a positive whole number of milliseconds")
        return value

    def _senders(self, value: object) -> SenderPolicy:
        if value is None:
            return SenderPolicy()
        config = self._object("senders", value)
        names = config.get("allow", [])
        if not isinstance(names, list):
            raise self._wrong("senders.allow", names, "a list of addresses or phone numbers")
        return SenderPolicy(
            policy=self._choice("senders.policy", config.get("policy", "allowlist"), ("allowlist", "everyone")),
            allow=tuple(
                self._text(f"senders.allow[{number}]", name) for number, name in enumerate(cast("list[object]", names))
            ),
        )

    def _network(self, config: dict[str, Any]) -> NetworkConfig:
        policy = config.get("policy")
        return NetworkConfig(
            policy=None if policy is None else self._choice("network.policy", policy, get_args(NetworkPolicy)),
            allow=self._hosts("network.allow", config.get("allow", [])),
            deny=self._hosts("network.deny", config.get("deny", [])),
        )

    def _hosts(self, key: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise self._wrong(key, value, "a list of hosts")
        hosts = tuple(self._text(f"{key}[{number}]", entry) for number, entry in enumerate(cast("list[object]", value)))
        for host in hosts:
            try:
                parse_pattern(host)
            except ValueError as error:
                raise ConfigError(f"{self._where}: {key}: {error}", "see docs/howto/network.md") from error
        return hosts

    def _object(self, key: str, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong(key or "entry", value, "an object")
        return cast("dict[str, Any]", value)

    def _text(self, key: str, value: object) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(key, value, "a text that is not empty")
        return value

    def _flag(self, key: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def _choice(self, key: str, value: object, choices: tuple[T, ...]) -> T:
        if value not in choices:
            raise self._wrong(key, value, " or ".join(choices))
        return cast("T", value)

    def _wrong(self, key: str, value: object, right: str) -> ConfigError:
        found = "is missing" if value is None else f"is {json.dumps(value, ensure_ascii=False, default=str)[:80]}"
        return ConfigError(f"{self._where}: {key} {found}", f"{key} must be {right}")


def check_folder(folder: str, where: str = "folder") -> Folder:
    """A group's folder name: letters, digits, `-` and `_`, so that it cannot leave `groups/`.

    Raises:
        ConfigError: it is something else, or reserved.
    """
    if not _FOLDER.fullmatch(folder) or folder in RESERVED_FOLDERS:
        raise ConfigError(
            f"{where} is {folder[:80]!r}", "use letters, digits, - and _, at most 64 of them, and not `global`"
        )
    return Folder(folder)


def new_entry(name: str, folder: str, trigger: str, added_at: str) -> dict[str, Any]:
    """A new entry of the file.

    Raises:
        ConfigError: the folder's name cannot be.
    """
    return {"name": name, "folder": check_folder(folder), "trigger": trigger, "added_at": added_at}


def load_groups(path: Path) -> dict[Jid, RegisteredGroup]:
    """Read and check the file; a missing one means no groups.

    Raises:
        ConfigError: it is wrong or cannot be read.
    """
    return parse_groups(_read(path), path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "{}"
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "check its owner, mode and encoding (UTF-8)") from error


def change_groups(path: Path, change: Callable[[Entries], None]) -> dict[Jid, RegisteredGroup]:
    """Let `change` edit the entries, check the result, and replace the file atomically; safe between processes.

    Raises:
        ConfigError: the file was broken before, or the change would break it. Nothing is written then.
    """
    with _locked(path):
        entries = parse_entries(_read(path), path)
        change(entries)
        groups = _validate(entries, path)
        replace_file(path, json.dumps(entries, indent=2, ensure_ascii=False) + "\n")
        return groups


@contextmanager
def _locked(path: Path) -> Generator[None]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class GroupRegistry:
    """The groups in force while the host runs.

    `problem` is what is wrong with the file as it stands now, if the groups in force are older than it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self.groups: Mapping[Jid, RegisteredGroup] = MappingProxyType(load_groups(path))
        self.problem: ConfigError | None = None
        self.changed = Pulse()

    def by_folder(self, folder: Folder) -> RegisteredGroup | None:
        """The group with this folder."""
        return next((group for group in self.groups.values() if group.folder == folder), None)

    def reload(self) -> None:
        """Take the file as it stands into force, or keep the last good state and remember why."""
        import structlog  # not for commands, which read this file and are to start quickly

        log = structlog.stdlib.get_logger()
        self._stamp = _stamp(self._path)
        try:
            groups = load_groups(self._path)
        except ConfigError as error:
            self.problem = error
            log.error("groups.refused", problem=str(error), hint=error.hint)  # noqa: TRY400  # expected: no traceback
            self.changed.fire()
            return
        self.problem = None
        if groups != self.groups:
            log.info("groups.loaded", groups=len(groups))
        self.groups = MappingProxyType(groups)
        self.changed.fire()

    async def change(self, change: Callable[[Entries], None]) -> None:
        """Edit the file, as `change_groups` does, and take it into force."""
        await anyio.to_thread.run_sync(change_groups, self._path, change)
        self.reload()

    async def watch(self) -> None:
        """Reload whenever the file changes; ends by cancellation."""
        async for _ in _changes(self._path):
            if _stamp(self._path) != self._stamp:
                self.reload()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


async def _changes(path: Path) -> AsyncGenerator[None]:
    """Yields when something in the file's directory may have changed, and every `_POLL_SECONDS` in any case."""
    try:
        from asyncinotify import Inotify, Mask
    except ImportError:  # no inotify on this system: the poll alone
        while True:
            await anyio.sleep(_POLL_SECONDS)
            yield
    with Inotify() as inotify:
        inotify.add_watch(  # pyright: ignore[reportUnknownMemberType]  # its PathLike is untyped
            path.parent, Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.DELETE
        )
        while True:
            with anyio.move_on_after(_POLL_SECONDS):
                await inotify.get()
            yield


def find_group(groups: Mapping[Jid, RegisteredGroup], name: str) -> RegisteredGroup:
    """By folder or by jid.

    Raises:
        NotFoundError: names the groups that there are.
    """
    for group in groups.values():
        if name in (group.folder, group.jid):
            return group
    folders = sorted(group.folder for group in groups.values())
    near = difflib.get_close_matches(name, folders, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    raise NotFoundError(f"there is no group {name!r}", f"{meant}known groups: {', '.join(folders) or 'none yet'}")
