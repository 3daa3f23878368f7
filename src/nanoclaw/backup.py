"""One file with everything that a home needs, made while the host runs, and a home made from it again.

The archive is a gzipped tar; its last member, `manifest.json`, lists every file with its SHA-256. Databases are copied
through SQLite, so that they are whole. Logins are left out unless asked for: a refresh token or a linked device that
comes back from an archive may have been used since, and then ends the real one.
"""

import hashlib
import io
import json
import os
import re
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Final, cast

from nanoclaw import __version__
from nanoclaw.clock import from_iso, iso
from nanoclaw.config import Home
from nanoclaw.errors import BackupError
from nanoclaw.restored import settle
from nanoclaw.store.database import copy_database

MANIFEST: Final = "manifest.json"
_FORMAT: Final = 1
_LOGINS: Final = ("credentials", "store/whatsapp")
_PARTS: Final = ("nanoclaw.toml", ".env", "groups", "data", "store", "credentials")
_NOT_KEPT: Final = ("data/ipc",)  # requests on their way, for runs that will not exist where this is restored
_LENT: Final = re.compile(r"data/codex/[^/]+/\.codex/auth\.json")  # a run's short-lived login
_BESIDE_DATABASES: Final = ("-wal", "-shm")  # what is in them is in the copy
_IN_MEMORY: Final = 8 << 20
_CHUNK: Final = 1 << 20

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What an archive holds."""

    version: str
    created: str
    logins: bool
    files: dict[str, str]
    """SHA-256 by path."""


def back_up(home: Home, archive: Path, now: datetime, *, logins: bool, tell: Tell) -> Contents:
    """Write the archive, mode 0600, and read it back. A file of that name is not overwritten.

    Raises:
        BackupError: it cannot be written, or does not read back as it was written.
    """
    digests: dict[str, str] = {}
    try:
        handle = os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
                for place in _places(home, logins=logins):
                    _add(tar, home.root, place, digests, tell)
                contents = Contents(version=__version__, created=iso(now), logins=logins, files=digests)
                _add_manifest(tar, contents)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise BackupError(f"{archive} exists already", "name another file") from error
    except OSError as error:
        archive.unlink(missing_ok=True)
        raise BackupError(f"{archive} cannot be written: {error}", "check the disk's free space") from error
    verify(archive)
    return contents


def verify(archive: Path) -> Contents:
    """Read the whole archive and compare every file with the manifest.

    Raises:
        BackupError: it is no archive of ours, or damaged.
    """
    found: dict[str, str] = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                if member.isreg():
                    content = cast("IO[bytes]", tar.extractfile(member))
                    if member.name == MANIFEST:
                        return _check(archive, content.read(), found)
                    found[member.name] = _digest(content)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise BackupError(f"{archive} cannot be read: {error}", "it is damaged, or no backup") from error
    raise BackupError(f"{archive} has no manifest", "it is not complete: make another backup")


def restore(archive: Path, home: Home, now: datetime, tell: Tell) -> Contents:
    """Make a home from an archive that was verified first; the home must not be there yet, or be empty. What was under
    way when the archive was made is settled: nothing of it is done again.

    Raises:
        BackupError: the archive is damaged, or the home has something in it.
        StoreError: the database in it cannot be used.
    """
    contents = verify(archive)
    if home.root.exists() and any(home.root.iterdir()):
        raise BackupError(f"{home.root} is not empty", "move it away, or name another place with --home")
    home.root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=home.root.parent, prefix=f".{home.root.name}."))
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                if member.name != MANIFEST:
                    _extract(tar, member, unfinished, tell)
        tell(settle(Home(unfinished), from_iso(contents.created), now))
        if home.root.exists():
            home.root.rmdir()
        unfinished.rename(home.root)
    except (OSError, tarfile.TarError) as error:
        raise BackupError(
            f"the backup could not be restored: {error}", f"what was unpacked so far is in {unfinished}"
        ) from error
    return contents


@dataclass(frozen=True, slots=True)
class _Place:
    """A name in an open directory: agents rearrange theirs while we read, and no link is followed on the way."""

    directory: int
    name: str
    path: str
    """Relative to the home."""

    def status(self) -> os.stat_result:
        return os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)

    def open(self) -> IO[bytes]:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.fdopen(os.open(self.name, flags, dir_fd=self.directory), "rb")


def _places(home: Home, *, logins: bool) -> Iterator[_Place]:
    """Everything to keep, a directory before what is in it."""
    left_out = {*_NOT_KEPT, *(() if logins else _LOGINS)}
    for top, directories, files, directory in os.fwalk(home.root):
        inside = os.path.relpath(top, home.root)
        if inside == ".":
            directories[:] = [name for name in directories if name in _PARTS]
            files = [name for name in files if name in _PARTS]
        prefix = "" if inside == "." else f"{inside}/"
        directories[:] = sorted(name for name in directories if prefix + name not in left_out)
        for name in (*directories, *sorted(files)):
            beside_database = inside == "store" and name.endswith(_BESIDE_DATABASES)
            if not beside_database and not _LENT.fullmatch(prefix + name):
                yield _Place(directory, name, prefix + name)


def _add(tar: tarfile.TarFile, root: Path, place: _Place, digests: dict[str, str], tell: Tell) -> None:
    try:
        status = place.status()
        entry = tarfile.TarInfo(place.path)
        entry.mode, entry.mtime, entry.uid, entry.gid = (
            stat.S_IMODE(status.st_mode), int(status.st_mtime), status.st_uid, status.st_gid,
        )  # fmt: skip
        if stat.S_ISREG(status.st_mode):
            _add_file(tar, entry, root, place, digests)
        elif stat.S_ISDIR(status.st_mode):
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        elif stat.S_ISLNK(status.st_mode):
            entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(place.name, dir_fd=place.directory)
            tar.addfile(entry)
        else:
            tell(f"left out: {place.path}, which is no file")
    except FileNotFoundError:
        return  # an agent has removed it meanwhile
    except PermissionError as error:
        tell(f"left out: {place.path}: {error.strerror}")


def _add_file(tar: tarfile.TarFile, entry: tarfile.TarInfo, root: Path, place: _Place, digests: dict[str, str]) -> None:
    """Read it once, whole: its size in the archive is what was read, whatever happens to it meanwhile."""
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        if place.path.startswith("store/") and place.name.endswith(".db"):
            with tempfile.TemporaryDirectory(prefix="nanoclaw-backup-") as directory:
                copy = Path(directory) / place.name
                copy_database(root / place.path, copy)
                with copy.open("rb") as file:
                    shutil.copyfileobj(file, spool)
        else:
            with place.open() as file:
                shutil.copyfileobj(file, spool)
        entry.size = spool.tell()
        content = cast("IO[bytes]", spool)
        spool.seek(0)
        digests[place.path] = _digest(content)
        spool.seek(0)
        tar.addfile(entry, content)


def _add_manifest(tar: tarfile.TarFile, contents: Contents) -> None:
    manifest = {
        "format": _FORMAT,
        "version": contents.version,
        "created": contents.created,
        "logins": contents.logins,
        "files": contents.files,
    }
    data = json.dumps(manifest, indent=1).encode()
    entry = tarfile.TarInfo(MANIFEST)
    entry.size, entry.mode = len(data), 0o600
    tar.addfile(entry, io.BytesIO(data))


def _check(archive: Path, manifest: bytes, found: dict[str, str]) -> Contents:
    try:
        stated = json.loads(manifest)
        contents = Contents(
            version=stated["version"], created=stated["created"], logins=stated["logins"], files=stated["files"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"the manifest of {archive} cannot be read", "it is damaged, or no backup") from error
    if stated.get("format") != _FORMAT:
        raise BackupError(f"{archive} was made by a newer NanoClaw", f"restore it with version {contents.version}")
    wrong = sorted(name for name in contents.files.keys() | found.keys() if contents.files.get(name) != found.get(name))
    if wrong:
        raise BackupError(f"{archive} is damaged: {wrong[0]} is not what was written", "take another backup")
    return contents


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path, tell: Tell) -> None:
    """An agent may have made links to anywhere: those that lead out of the home are not made again."""
    try:
        tar.extract(tarfile.data_filter(member, str(root)).replace(mode=member.mode, deep=False), root)
    except tarfile.FilterError:
        tell(f"left out: {member.name}, a link that leads out of the home")
