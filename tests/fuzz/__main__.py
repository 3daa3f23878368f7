"""`make fuzz`: hostile input for every parser that takes bytes from an agent or a chat.

The same seed makes the same inputs. What fails is kept in `corpus/`, where a test replays it from then on. All of it
takes a while, and so it runs apart from the tests.
"""

import argparse
import hashlib
import random
import signal
import sys
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.fuzz import agents, mailbox_files, people, requests
from tests.fuzz.mutation import mutated
from tests.fuzz.target import TARGETS, Target

MODULES: Final = (agents, people, requests)
"""Importing them puts their targets on the list."""
CORPUS: Final = Path(__file__).parent / "corpus"

_INPUTS: Final = 500_000
_SLOWER: Final = {"door": 20, "allowlist": 5, "mailbox files": 2, "whatsapp": 2}
"""Targets that get a fraction of the inputs, as each costs more."""
_FAILURES: Final = 20  # of one target: what comes after is most likely the same again
_SLOW_SECONDS: Final = 1.0
_POOL: Final = 2000
_FILES: Final = "mailbox files"


def kept(name: str) -> list[Path]:
    """The inputs of a target that once failed."""
    return sorted((CORPUS / name).glob("*"))


def fuzz(target: Target, count: int, seed: int) -> dict[str, bytes]:
    """Try so many inputs; answers what went wrong, each with an input that makes it."""
    randomly = random.Random(f"{target.name} {seed}")
    pool = [*target.seeds, *(path.read_bytes() for path in kept(target.name))]
    found: dict[str, bytes] = {}
    failures = 0
    for _ in range(count):
        data = mutated(randomly, pool, target.words)
        try:
            with bounded(_SLOW_SECONDS):
                target.check(data)
        except Exception as error:  # noqa: BLE001  # that is what is looked for
            what = _where(error)
        else:
            what = ""
            if len(pool) < _POOL and randomly.random() < 0.01:
                pool.append(data)
        if what:
            found.setdefault(what, data)
            failures += 1
            if failures >= _FAILURES:
                break
    return found


class Slow(Exception):
    """It takes longer than any such input should."""


@contextmanager
def bounded(seconds: float) -> Generator[None]:
    """Raise `Slow` after so many seconds of work, where it is at that moment; patterns can take for ever."""

    def interrupt(_number: int, _frame: object) -> None:
        raise Slow

    signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, Slow):
        ours = [frame for frame in frames if "nanoclaw" in frame.filename and "fuzz" not in frame.filename]
        return f"it takes long in {Path(ours[-1].filename).name}:{ours[-1].name}" if ours else "it takes long"
    last = frames[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {str(error)[:100]!r}"


def keep(name: str, data: bytes) -> Path:
    """Put an input into the corpus."""
    path = CORPUS / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def main() -> None:
    """Fuzz, and say what was found; the exit status says whether anything was."""
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("--target", action="append", choices=[*TARGETS, _FILES], help="not all of them")
    parser.add_argument("--inputs", type=int, default=_INPUTS, help="for each target; the slow ones get fewer")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    found: list[str] = []
    for name in options.target or [*TARGETS, _FILES]:
        count = max(1, options.inputs // _SLOWER.get(name, 1))
        begun = time.monotonic()
        met = ""
        if name == _FILES:
            met = mailbox_files.run(count, options.seed)
        else:
            findings = fuzz(TARGETS[name], count, options.seed)
            found += [f"{name}: {what}: {keep(name, data)}" for what, data in findings.items()]
            print(*found[len(found) - len(findings) :], sep="\n", end="\n" if findings else "", flush=True)
        print(f"{name}: {count} inputs, seed {options.seed}, {time.monotonic() - begun:.0f} s {met}", flush=True)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
