"""Hostile files through a whole mailbox on a disk: without a crash, a lost file or an escape."""

import json
import os
import random
import shutil
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from nanoclaw.errors import MailboxError
from nanoclaw.ipc import files
from nanoclaw.ipc.commands import VERBS
from nanoclaw.model import Folder

_FOLDER = Folder("fuzzed")
_SECRET = "what lies outside must never be read"
_GOOD = [verb.model.example.encode() for verb in VERBS.values()]
_MONSTERS = [
    b"[" * 5000,
    b'{"a":' * 3000,
    b"9" * 5000,
    b'{"type":NaN}',
    b'"',
    b"",
    b'{"type":"message","text":"\\ud800"}',
]


class Fuzzer:
    """One mailbox in a directory of its own, with a secret beside it."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.directory = directory
        self.root = directory / "ipc"
        self.mailbox = self.root / _FOLDER
        self.secret = directory / "secret.json"
        self.secret.write_text(json.dumps({"type": "message", "text": _SECRET}), encoding="utf-8")
        files.prepare(self.root, _FOLDER)
        self.seen: Counter[str] = Counter()

    def name(self) -> str:
        choice = self.random.random()
        if choice < 0.7:
            return f"{self.random.randrange(10**6)}.json"
        if choice < 0.8:
            return f".{self.random.randbytes(4).hex()}"
        raw = bytes(byte for byte in self.random.randbytes(self.random.randrange(1, 60)) if byte not in b"\0/") or b"a"
        return os.fsdecode(raw) + self.random.choice(["", ".json"])

    def content(self) -> bytes:
        choice = self.random.random()
        if choice < 0.3:
            return self.random.choice(_GOOD)
        if choice < 0.7:
            spoiled = bytearray(self.random.choice(_GOOD))
            for _ in range(self.random.randrange(1, 5)):
                spoiled[self.random.randrange(len(spoiled))] = self.random.randrange(256)
            return bytes(spoiled)
        if choice < 0.9:
            return self.random.randbytes(self.random.randrange(200))
        return self.random.choice(_MONSTERS)

    def write(self, path: Path) -> None:
        path.write_bytes(self.content())

    def write_with_odd_mode(self, path: Path) -> None:
        self.write(path)
        path.chmod(self.random.choice([0, 0o111, 0o4755]))

    def link_outside(self, path: Path) -> None:
        target = self.random.choice([os.fspath(self.secret), "/etc/passwd", path.name, "/dev/zero", "..", "../claimed"])
        path.symlink_to(target)

    def link_hard(self, path: Path) -> None:
        others = list((self.mailbox / "messages").iterdir())
        if others:
            path.hardlink_to(self.random.choice(others))

    def make_fifo(self, path: Path) -> None:
        os.mkfifo(path)

    def make_tree(self, path: Path) -> None:
        (path / "x").mkdir(parents=True)
        (path / "x" / "y.json").write_bytes(_GOOD[0])
        if self.random.random() < 0.5:
            path.chmod(self.random.choice([0, 0o200, 0o500]))

    def make_huge(self, path: Path) -> None:
        path.touch()
        os.truncate(path, 1 << 40)

    def put(self) -> None:
        """Put one thing into an inbox; what cannot be put there is no loss."""
        makers: list[Callable[[Path], None]] = [
            self.write, self.write_with_odd_mode, self.link_outside, self.link_hard,
            self.make_fifo, self.make_tree, self.make_huge,
        ]  # fmt: skip
        (maker,) = self.random.choices(makers, weights=[86, 4, 3, 2, 2, 2, 1])
        path = self.mailbox / self.random.choice(files.INBOXES) / self.name()
        with suppress(OSError):
            if not os.path.lexists(path):
                maker(path)
                self.seen[maker.__name__] += 1

    def collect(self) -> None:
        """Have the reader take everything that is there."""
        more = True
        while more:
            now = time.time() + self.random.choice([0, 0, 1000])
            with files.opened(self.root, _FOLDER) as box:
                haul = files.collect(box, now, patient=self.random.random() < 0.3)
                for claim in haul.claims:
                    refused = isinstance(claim.command, MailboxError)
                    self.seen["refused" if refused else "understood"] += 1
                    if _SECRET in repr(claim.command):
                        raise AssertionError("something outside the mailbox was read")
                    files.finish(box, claim, b"{}", refused=refused)
                files.tidy(box)
            more = haul.more

    def check(self) -> None:
        """Nothing outside has changed, and what the host keeps is plain files within their limits."""
        assert json.loads(self.secret.read_text(encoding="utf-8"))["text"] == _SECRET
        assert sorted(path.name for path in self.directory.iterdir()) == ["ipc", "secret.json"]
        assert [path.name for path in self.root.iterdir()] == [_FOLDER]
        for kept, most in ((files.RESULTS, files.KEPT_RESULTS), (files.REFUSED, files.KEPT_REFUSED)):
            found = list((self.mailbox / kept).iterdir())
            assert len(found) <= most
            assert all(stat.S_ISREG(path.lstat().st_mode) and path.lstat().st_nlink == 1 for path in found)


@contextmanager
def scratch() -> Generator[Path]:
    """A directory in memory where there is one."""
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="nanoclaw-fuzz-", dir=memory if memory.is_dir() else None))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def run(count: int, seed: int) -> str:
    """Put so many files into a mailbox and have them read; says what was met."""
    with scratch() as directory:
        fuzzer = Fuzzer(directory, seed)
        done = 0
        while done < count:
            portion = min(fuzzer.random.randrange(1, 400), count - done)
            for _ in range(portion):
                fuzzer.put()
            done += portion
            fuzzer.collect()
            fuzzer.check()
    return ", ".join(f"{name} {met}" for name, met in sorted(fuzzer.seen.items()))
