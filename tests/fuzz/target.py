"""What is fuzzed: something that takes bytes from an agent or a chat, and what must hold whatever they are."""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final


def scratch_directory() -> Path:
    """A new directory, removed when the process ends."""
    directory = Path(tempfile.mkdtemp(prefix="nanoclaw-fuzz-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One parser."""

    name: str
    """Also of its folder in `corpus/`."""
    seeds: tuple[bytes, ...]
    """Inputs that are right, to be spoiled."""
    check: Callable[[bytes], object]
    """Raises whatever must not happen."""
    words: tuple[bytes, ...] = ()
    """Pieces that mean something to it."""


TARGETS: Final[dict[str, Target]] = {}


def target(
    name: str, *seeds: bytes, words: tuple[bytes, ...] = ()
) -> Callable[[Callable[[bytes], object]], Callable[[bytes], object]]:
    """Put a check on the list."""

    def register(check: Callable[[bytes], object]) -> Callable[[bytes], object]:
        TARGETS[name] = Target(name=name, seeds=seeds or (b"",), check=check, words=words)
        return check

    return register
