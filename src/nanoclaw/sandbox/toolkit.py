"""What bubblewrap has in place of an image: the providers' programs and our runner, in folders of the user's own.

Two folders, each named after a hash of what is in it, so that an edit of the runner does not fetch the programs again.
Both are mounted where the image has the same things.
"""

import compileall
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nanoclaw.config import command_environment, user_data_directory
from nanoclaw.sandbox.base import Mount
from nanoclaw.sandbox.payload import (
    AGENT_DIRECTORY,
    ENVIRONMENT,
    PROGRAMS,
    RUNNER_COMMAND,
    RUNNER_DIRECTORY,
    fingerprint,
    make_readable,
    making,
    recipe_directory,
    runner_files,
    write_files,
)

_DISCARD_SECONDS = 86_400.0
"""A folder of another version may be mounted in a run, but no run lasts a day."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Toolkit:
    """All that a sandbox needs besides the machine's own `/usr`."""

    binds: tuple[Mount, ...]
    """Read-only."""
    environment: dict[str, str]
    runner_command: tuple[str, ...]


def find_toolkit() -> Toolkit | None:
    """The toolkit of this version, if it was built. Reads some files of ours; starts nothing."""
    agent, runner = _agent_folder(), _runner_folder()
    if not (agent.is_dir() and runner.is_dir()):
        return None
    return Toolkit(
        binds=(
            *_python_mounts(),
            Mount(source=agent.resolve(), target=AGENT_DIRECTORY, readonly=True),
            Mount(source=runner.resolve(), target=RUNNER_DIRECTORY, readonly=True),
        ),
        environment=dict(ENVIRONMENT),
        runner_command=RUNNER_COMMAND,
    )


def find_program(name: str) -> Path | None:
    """One of `PROGRAMS`, to be run outside of a sandbox; None as long as no toolkit was built."""
    path = _agent_folder() / "lib" / PROGRAMS[name]
    return path if path.is_file() else None


async def build_toolkit() -> AsyncGenerator[str]:
    """Make what `find_toolkit` finds; yields progress, a line each. Nothing to do: no lines. Two at once do no harm.

    Raises:
        SandboxError: the programs could not be fetched.
    """
    agent, runner = _agent_folder(), _runner_folder()
    if not agent.is_dir():
        yield f"fetching the agents' programs into {agent}"
        with _staging(agent) as folder:
            async with aclosing(_fetch_programs(folder)) as lines:
                async for line in lines:
                    yield line
    if not runner.is_dir():
        yield f"installing the runner into {runner}"
        with _staging(runner) as folder:
            write_files(folder, runner_files(str(_python())))
            compileall.compile_dir(folder / "lib", quiet=2)
    _discard_old(keep={agent, runner})


def _root() -> Path:
    return user_data_directory() / "toolkit"


def _python() -> Path:
    """The interpreter below this virtual environment: same version, and not in a place that moves."""
    return Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}").resolve()


def _python_mounts() -> tuple[Mount, ...]:
    """The interpreter's installation at its own path, and where a link to it leads, unless `/usr` has it."""
    prefix = Path(sys.base_prefix)
    source = prefix.resolve()
    places = dict.fromkeys(str(place) for place in (source, prefix) if not place.is_relative_to("/usr"))
    return tuple(Mount(source=source, target=place, readonly=True) for place in places)


def _agent_folder() -> Path:
    lock = (recipe_directory() / "agent.lock").read_bytes()
    return _root() / f"agent-{fingerprint({'agent.lock': lock}, str(_python()), sys.version)}"


def _runner_folder() -> Path:
    return _root() / f"runner-{fingerprint(runner_files(str(_python())), sys.version)}"


async def _fetch_programs(folder: Path) -> AsyncGenerator[str]:
    tools = folder / "pip"
    options = "--disable-pip-version-check --progress-bar off --no-cache-dir --only-binary :all: --require-hashes"
    install = (
        *(str(tools / "bin" / "pip"), "install", *options.split()),
        *("--target", str(folder / "lib"), "--requirement", str(recipe_directory() / "agent.lock")),
    )
    # pip unpacks in TMPDIR and then moves: on the same file system that is a rename
    environment = command_environment() | {"TMPDIR": str(folder)}
    for command in ((str(_python()), "-m", "venv", str(tools)), install):
        async with aclosing(making("the agents' toolkit", command, environment)) as lines:
            async for line in lines:
                yield line
    shutil.rmtree(tools)
    (folder / "bin").mkdir()
    for name, place in PROGRAMS.items():
        (folder / "bin" / name).symlink_to(Path("..", "lib", place))


@contextmanager
def _staging(final: Path) -> Generator[Path]:
    """A folder that becomes `final` at the end, whole; whoever comes second throws its own away."""
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="unfinished-", dir=final.parent))
    try:
        yield folder
        make_readable(folder)
        try:
            folder.rename(final)
        except OSError:
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _discard_old(keep: set[Path]) -> None:
    for folder in _root().iterdir():
        if folder not in keep and time.time() - folder.stat().st_mtime > _DISCARD_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
