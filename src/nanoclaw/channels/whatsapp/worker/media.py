"""Fetches files as soon as a message brings one: their links end after some days."""

import hashlib
import logging
import threading
import uuid
from pathlib import Path
from typing import Any, Final

import magic
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import Message

from nanoclaw.channels.whatsapp.worker.library import Library, LibraryError
from nanoclaw.channels.whatsapp.worker.spool import Row, Spool
from nanoclaw.channels.whatsapp.worker.weighing import TooLargeError, WeighingError, check

_FETCH_SECONDS: Final = 90.0  # the platform's largest files that we take, over a slow line
_TRIES: Final = 3
_PAUSE_SECONDS: Final = 1.0
_GONE: Final = ("status code 403", "status code 404", "status code 410")  # no later try helps
_TOO_LARGE: Final = "it is too large"
_SNIFFED: Final = 8192  # bytes
_VAGUE: Final = frozenset({
    "application/octet-stream", "application/zip", "application/x-ole-storage", "application/CDFV2", "text/plain",
    "inode/x-empty",
})  # fmt: skip

log = logging.getLogger(__name__)


class Fetcher:
    """One thread that fetches one file after the other. `fetched` of the spool tells how it went."""

    def __init__(
        self, spool: Spool, library: Library, directory: Path, media_bytes: int, done: threading.Event
    ) -> None:
        """`done` is set whenever a message has become ready."""
        self._spool = spool
        self._library = library
        self._directory = directory
        self._media_bytes = media_bytes
        self._done = done
        self._work = threading.Event()

    def wake(self) -> None:
        """There may be something to fetch."""
        self._work.set()

    def run(self) -> None:
        """Fetch for ever."""
        while True:
            self._work.wait()
            self._work.clear()
            while row := self._spool.next_to_fetch():
                self._spool.fetched(row.seq, self._with_file(row))
                self._done.set()

    def _with_file(self, row: Row) -> dict[str, Any]:
        attachment = row.body["attachments"][0]
        data, problem = self._fetch(row.raw or b"")
        if data is None:
            return {**row.body, "attachments": [{**attachment, "problem": problem}]}
        path = self._directory / uuid.uuid4().hex
        path.write_bytes(data)
        kept = {
            "source": str(path),
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "mime": sniffed(data, attachment["mime"]),
        }
        return {**row.body, "attachments": [{**attachment, **kept}]}

    def _fetch(self, raw: bytes) -> tuple[bytes | None, str]:
        """The file, or why there is none. Bounded, though the library's call is not."""
        message = Message.FromString(raw)
        problem = "WhatsApp did not give it to us"
        for number in range(_TRIES):
            if number:
                threading.Event().wait(_PAUSE_SECONDS * number)
            found: list[bytes] = []
            failed: list[str] = []
            thread = threading.Thread(target=self._download, args=(message, found, failed), daemon=True)
            thread.start()
            thread.join(_FETCH_SECONDS)
            if found:
                return found[0], ""
            if not failed:
                return None, "it did not come in time"
            log.warning("a file was not fetched: %s", failed[0])
            if failed[0] == _TOO_LARGE:
                return None, f"it is larger than {self._media_bytes >> 20} MB"
            problem = f"WhatsApp did not give it to us: {failed[0]}"
            if any(code in failed[0] for code in _GONE):
                break
        return None, problem

    def _download(self, message: Message, found: list[bytes], failed: list[str]) -> None:
        try:
            check(message, self._media_bytes)
            found.append(self._library.download(message))
        except TooLargeError:
            failed.append(_TOO_LARGE)
        except (WeighingError, LibraryError) as error:
            failed.append(str(error))


def sniffed(data: bytes, claimed: str) -> str:
    """What kind of file it is: what its first bytes say, unless they say less than the sender did."""
    found = str(magic.from_buffer(data[:_SNIFFED], mime=True))
    return claimed if claimed and found in _VAGUE else found
