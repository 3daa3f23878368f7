"""Host directories that a group asks for besides its own, and the allowlist that decides.

The allowlist is `mount-allowlist.json` in the user's configuration directory, in NanoClaw's format, read at every
start. No sandbox ever sees it. Without it there are no extra mounts; a mount that it does not allow fails the run, for
an agent that misses its files in silence does harm.
"""

import fnmatch
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pydantic import BaseModel, Field, ValidationError

import nanoclaw
from nanoclaw.config import Home, user_config_directory, user_data_directory
from nanoclaw.errors import MountError
from nanoclaw.model import AdditionalMount, RegisteredGroup
from nanoclaw.sandbox.base import Mount

EXTRA_DIRECTORY: Final = "/workspace/extra"

BLOCKED: Final = (
    ".ssh", ".gnupg", ".aws", ".azure", ".gcloud", ".kube", ".docker", "credentials", ".env", ".netrc", ".npmrc",
    ".pypirc", "id_rsa", "id_ed25519", "private_key", ".secret", ".password-store", ".claude", ".codex", "docker.sock",
    "podman.sock", "containerd.sock", "crio.sock", ".colima", ".lima", ".orbstack",
)  # fmt: skip
"""Never mounted, and nothing below them, whatever the allowlist says."""

_ENGINES = (
    *("/run/docker.sock", "/run/podman", "/run/containerd", "/run/crio", "/run/user", "/run/dbus", "/run/systemd"),
    *("/var/lib/docker", "/var/lib/containers", "/var/lib/containerd", "/var/run/docker.sock"),
)
_SYSTEM = ("/dev", "/proc", "/sys", "/boot", *_ENGINES)
"""Never mounted, and nothing below them: whoever reaches an engine's socket or storage is as good as root."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


class _Root(BaseModel):
    path: str
    allow_read_write: bool = Field(False, alias="allowReadWrite")


class _Allowlist(BaseModel):
    allowed_roots: list[_Root] = Field(alias="allowedRoots")
    blocked_patterns: list[str] = Field(default_factory=list[str], alias="blockedPatterns")
    non_main_read_only: bool = Field(True, alias="nonMainReadOnly")


def allowlist_path() -> Path:
    """`~/.config/nanoclaw/mount-allowlist.json`"""
    return user_config_directory() / "mount-allowlist.json"


def extra_mounts(home: Home, group: RegisteredGroup, groups: Iterable[RegisteredGroup]) -> tuple[Mount, ...]:
    """The group's additional mounts, as far as the allowlist lets it write.

    Args:
        groups: everybody whose writable extra mounts are no place for a source.

    Raises:
        MountError: one of them is not allowed, or the allowlist is broken.
    """
    if not group.additional_mounts:
        return ()
    allowlist = _load()
    mounts = tuple(_decide(home, group, wanted, allowlist) for wanted in group.additional_mounts)
    if len({mount.target for mount in mounts}) < len(mounts):
        raise MountError(f"group {group.folder}: two additional mounts have the same containerPath", "rename one")
    writable = {path: other.folder for other in groups for path in _writable(other, allowlist)}
    for mount in mounts:
        for path, folder in writable.items():
            if path in mount.source.parents:
                raise MountError(
                    f"{mount.source} lies inside {path}, which the agent of group {folder} can rearrange",
                    "mount one of the two only, or the outer one readonly",
                )
    return mounts


def _load() -> _Allowlist:
    path = allowlist_path()
    try:
        return _Allowlist.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise MountError(f"there are no additional mounts without {path}", "docs/security.md shows one") from error
    except OSError as error:
        raise MountError(f"{path} cannot be read: {error.strerror}", "correct it") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise MountError(f"{path}: {key or 'not JSON'}: {first['msg']}", "docs/security.md shows the format") from error


def _decide(home: Home, group: RegisteredGroup, wanted: AdditionalMount, allowlist: _Allowlist) -> Mount:
    if not _NAME.fullmatch(wanted.container_path):
        raise MountError(
            f"group {group.folder}: containerPath {wanted.container_path!r} is not a plain name",
            f"it becomes {EXTRA_DIRECTORY}/<name>: letters, digits, '.', '_' and '-', no '/'",
        )
    source = _resolve(wanted.host_path)
    if source is None:
        raise MountError(f"group {group.folder}: {wanted.host_path} is not a directory", "create it, or unlist it")
    if blocked := _blocked(source, allowlist) or _blocked(Path(wanted.host_path), allowlist):
        raise MountError(f"group {group.folder}: {wanted.host_path} is blocked by {blocked!r}", "it is never mounted")
    root = _root_of(source, allowlist)
    if root is None:
        raise MountError(
            f"group {group.folder}: {wanted.host_path} is below no allowed root", f"add one to {allowlist_path()}"
        )
    readonly = _is_readonly(group, wanted, root, allowlist)
    for path in _protected(home, writable=not readonly):
        if source.is_relative_to(path) or path.is_relative_to(source):
            raise MountError(
                f"group {group.folder}: {wanted.host_path} overlaps {path}, which is NanoClaw's own", "choose another"
            )
    if _is_of_the_system(source):
        raise MountError(
            f"group {group.folder}: {wanted.host_path} holds what runs this machine", "mount a directory of files only"
        )
    return Mount(source=source, target=f"{EXTRA_DIRECTORY}/{wanted.container_path}", readonly=readonly)


def _is_readonly(group: RegisteredGroup, wanted: AdditionalMount, root: _Root, allowlist: _Allowlist) -> bool:
    return (
        wanted.readonly
        or not root.allow_read_write
        or (allowlist.non_main_read_only and not group.is_main)
        or group.approval_policy == "readonly"
    )


def _writable(group: RegisteredGroup, allowlist: _Allowlist) -> list[Path]:
    """Sources that a sandbox of the group may write; one that would be refused counts too, which does no harm."""
    found: list[Path] = []
    for wanted in group.additional_mounts:
        source = _resolve(wanted.host_path)
        root = source and _root_of(source, allowlist)
        if source and root and not _is_readonly(group, wanted, root, allowlist):
            found.append(source)
    return found


def _resolve(text: str) -> Path | None:
    """The directory that `text` leads to, links followed; None when there is none."""
    try:
        path = Path(text).expanduser()
        resolved = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        return None
    return resolved if path.is_absolute() and resolved.is_dir() else None


def _blocked(path: Path, allowlist: _Allowlist) -> str | None:
    """The pattern that a component of `path` matches whole, letters of both cases being alike."""
    components = [part.casefold() for part in path.parts]
    for pattern in (*BLOCKED, *allowlist.blocked_patterns):
        if fnmatch.filter(components, pattern.casefold()):
            return pattern
    return None


def _root_of(source: Path, allowlist: _Allowlist) -> _Root | None:
    """The allowed root that is nearest to `source`."""
    roots = [(path, root) for root in allowlist.allowed_roots if (path := _resolve(root.path))]
    around = [(path, root) for path, root in roots if source.is_relative_to(path)]
    return max(around, key=lambda pair: len(pair[0].parts), default=(None, None))[1]


def _is_of_the_system(source: Path) -> bool:
    """Whether an agent would find there the sockets of engines, devices, or the kernel's own settings."""
    inside = any(source.is_relative_to(place) for place in _SYSTEM)
    return inside or any(Path(place).resolve().is_relative_to(source) for place in (*_SYSTEM, Path.home()))


def _protected(home: Home, *, writable: bool) -> list[Path]:
    """What no agent may see; and what none may write: the program that runs outside of every sandbox."""
    places = [home.root, home.sockets, user_config_directory(), user_data_directory()]
    if writable:
        places += [Path(nanoclaw.__file__).parent, Path(sys.prefix), Path(sys.base_prefix)]
    return [place.resolve() for place in places]
