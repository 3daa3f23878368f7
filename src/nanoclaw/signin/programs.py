"""Where the providers' own programs are, for use outside of a sandbox."""

import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from nanoclaw.config import sign_in_environment
from nanoclaw.errors import SandboxError
from nanoclaw.providers import ProviderName
from nanoclaw.sandbox.payload import PROGRAMS, recipe_directory
from nanoclaw.sandbox.process import run_command
from nanoclaw.sandbox.toolkit import find_program as find_in_toolkit

_DISTRIBUTIONS: Final[dict[ProviderName, str]] = {"claude": "claude-agent-sdk", "codex": "openai-codex-cli-bin"}
"""The wheels that carry the programs; `agent.lock` has their versions."""
_VERSION_SECONDS: Final = 20.0  # it says its version in well under a second, unless the disk is asleep
_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)")


async def find_program(provider: ProviderName) -> Path | None:
    """The provider's program: of the toolkit, else of this Python's packages, else one on PATH that is new enough."""
    return find_in_toolkit(provider) or _in_packages(provider) or await _on_path(provider)


def _in_packages(provider: ProviderName) -> Path | None:
    package, _, rest = PROGRAMS[provider].partition("/")
    found = find_spec(package)
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / rest
    return path if os.access(path, os.X_OK) else None


async def _on_path(provider: ProviderName) -> Path | None:
    environment = sign_in_environment()
    path = shutil.which(provider, path=environment.get("PATH"))
    if path is None:
        return None
    try:
        answer = await run_command((path, "--version"), environment, _VERSION_SECONDS)
    except SandboxError:
        return None
    return Path(path) if is_new_enough(provider, answer.stdout) else None


def is_new_enough(provider: ProviderName, said: str) -> bool:
    """Whether what a program says of its version is at least what this program was tried with.

    Claude's program has a version of its own, which its wheel does not tell: any will do.
    """
    if provider == "claude":
        return True
    lock = (recipe_directory() / "agent.lock").read_text(encoding="utf-8")
    tried = _version(lock.partition(f"{_DISTRIBUTIONS[provider]}==")[2])
    return bool(tried) and _version(said) >= tried


def _version(text: str) -> tuple[int, ...]:
    match = _VERSION.search(text)
    return tuple(int(part) for part in match.groups()) if match else ()
