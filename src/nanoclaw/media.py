"""`data/media/<folder>/`: the files that people sent, as their group's agents see them, read-only.

A file is kept under a name that follows from its message: what comes again takes its own place again, and what a crash
left behind is pruned with the rest. Nothing of that name is a path: it is made of letters, digits and . _ - alone.
"""

import os
import re
import shutil
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from mimetypes import guess_extension
from pathlib import Path
from typing import Final

from nanoclaw.errors import StoreError
from nanoclaw.model import Attachment, InboundMessage, MediaFile

KEPT: Final = timedelta(days=90)
"""How long what people sent stays."""
MOST_BYTES: Final = 2 << 30
"""Of one group's files together; beyond that the oldest go first."""
MOST_FILES: Final = 32
"""Of one message; the others are named as missing."""

_READABLE: Final = 0o644
_LONGEST_NAME: Final = 80  # of the part of a file's name that its sender chose
_EXTENSIONS: Final = {
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "audio/ogg": ".ogg",
    "audio/mpeg": ".mp3",
    "audio/mp4": ".m4a",
    "video/mp4": ".mp4",
}
"""Where the machine's own list may lack one or have several."""
_UNSAFE = re.compile(r"[^\w.-]+")


def keep(directory: Path, message: InboundMessage) -> tuple[MediaFile, ...]:
    """Copy a message's files into their group's directory, to the disk.

    Raises:
        StoreError: the disk is full or fails; later it may go.
    """
    files = message.attachments
    kept = (
        *(_keep(directory, message, number, file) for number, file in enumerate(files[:MOST_FILES], 1)),
        *(_missing(file, "too many files at once") for file in files[MOST_FILES:]),
    )
    if any(file.file for file in kept):
        _sync(directory)
        _shrink(directory, MOST_BYTES)
    return kept


def remove(directory: Path, names: Sequence[str]) -> None:
    """Delete files that were withdrawn; one that is gone is gone."""
    for name in names:
        (directory / name).unlink(missing_ok=True)


def prune(directories: Path, now: datetime) -> None:
    """Delete what is older than `KEPT`, in the directories of all groups, of former ones too."""
    if not directories.is_dir():
        return
    for directory in directories.iterdir():
        for at, _, path in _by_age(directory):
            if at < (now - KEPT).timestamp():
                path.unlink(missing_ok=True)


def file_name(message: InboundMessage, number: int, attachment: Attachment) -> str:
    """The name that a file is kept under: unique, safe, and with what its sender called it. Pure."""
    identity = "\0".join((message.account, message.chat, message.sender, message.ext_id, str(number)))
    mark = sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{message.sent_at:%Y%m%d}-{mark}-{_safe(attachment)}"


def _safe(attachment: Attachment) -> str:
    plain = unicodedata.normalize("NFKC", attachment.original_name)
    called = Path(_UNSAFE.sub("_", plain).strip("._-"))
    stem, extension = called.stem, called.suffix
    if attachment.kind != "document" or not extension:
        mime = attachment.mime.partition(";")[0].strip().lower()
        right = _EXTENSIONS.get(mime) or guess_extension(mime) or ""
        stem, extension = (stem if extension.lower() == right else called.name), right
    room = _LONGEST_NAME - len(extension)
    return (stem.encode()[:room].decode("utf-8", "ignore").strip(".") or attachment.kind) + extension


def _keep(directory: Path, message: InboundMessage, number: int, attachment: Attachment) -> MediaFile:
    if attachment.source is None:
        return _missing(attachment, attachment.problem or "it was not fetched")
    name = file_name(message, number, attachment)
    try:
        size = _copy(attachment.source, directory, name)
    except FileNotFoundError:
        return _missing(attachment, "it was lost on the way")
    except OSError as error:
        raise StoreError(
            f"a file that somebody sent cannot be kept: {error.strerror}", "check the disk's free space and health"
        ) from error
    return MediaFile(
        kind=attachment.kind,
        mime=attachment.mime,
        size=size,
        name=attachment.original_name,
        file=name,
        sha256=attachment.sha256,
    )


def _copy(source: Path, directory: Path, name: str) -> int:
    """Whole or not at all; answers the size."""
    unfinished = directory / f".{name}"
    with source.open("rb") as reading:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        with unfinished.open("wb") as writing:
            shutil.copyfileobj(reading, writing, 1 << 20)
            writing.flush()
            os.fchmod(writing.fileno(), _READABLE)
            os.fsync(writing.fileno())
            size = writing.tell()
    unfinished.replace(directory / name)
    return size


def _missing(attachment: Attachment, problem: str) -> MediaFile:
    return MediaFile(
        kind=attachment.kind,
        mime=attachment.mime,
        size=attachment.size,
        name=attachment.original_name,
        problem=problem,
    )


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _shrink(directory: Path, most: int) -> None:
    files = _by_age(directory)
    total = sum(size for _, size, _ in files)
    for _, size, path in files:
        if total <= most:
            return
        path.unlink(missing_ok=True)
        total -= size


def _by_age(directory: Path) -> list[tuple[float, int, Path]]:
    """Time, size and path of every file, the oldest first."""
    found: list[tuple[float, int, Path]] = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if entry.is_file(follow_symlinks=False):
                found.append((status.st_mtime, status.st_size, Path(entry.path)))
    return sorted(found)
