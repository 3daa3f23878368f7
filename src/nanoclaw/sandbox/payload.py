"""What agents find inside, alike in every kind of sandbox: places, environment, our runner and the other commands.

`/opt/agent` holds the providers' programs (`bin`, `lib`), `/opt/nanoclaw` our runner (`bin`, `lib`).
"""

import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

import nanoclaw
from nanoclaw.errors import SandboxError
from nanoclaw.sandbox.process import command_lines
from nanoclaw.wire import AGENT_HOME

AGENT_DIRECTORY: Final = "/opt/agent"
RUNNER_DIRECTORY: Final = "/opt/nanoclaw"
RUNNER_COMMAND: Final = ("nanoclaw-runner",)
CARRIER_COMMAND: Final = ("nanoclaw-carrier",)

ENVIRONMENT: Final[Mapping[str, str]] = {
    "PATH": f"{RUNNER_DIRECTORY}/bin:{AGENT_DIRECTORY}/bin:/usr/local/bin:/usr/bin:/bin",
    "HOME": AGENT_HOME,
    "USER": "node",
    "LANG": "C.UTF-8",
    "CODEX_HOME": f"{AGENT_HOME}/.codex",
    "CLAUDE_CONFIG_DIR": f"{AGENT_HOME}/.claude",
    "XDG_CACHE_HOME": "/tmp/.cache",  # noqa: S108 - the sandbox's own, and it is gone with the sandbox
}
"""The environment of every sandbox, before what a run adds. The Dockerfile says the same."""

PROGRAMS: Final[Mapping[str, str]] = {
    "claude": "claude_agent_sdk/_bundled/claude",
    "codex": "codex_cli_bin/bin/codex",
    "rg": "codex_cli_bin/codex-path/rg",
}
"""What is linked into `/opt/agent/bin`, and where it lies below `/opt/agent/lib`. The Dockerfile says the same."""

_MAKING_SECONDS = 3600.0  # 1.5 GB over a slow line
_SHARED_MODULES = ("__init__.py", "carriage.py", "errors.py", "providers.py", "wire.py")
_COMMANDS = {
    "nanoclaw-runner": "nanoclaw_runner.main",
    "nanoclaw-ipc": "nanoclaw_runner.ipc",
    "nanoclaw-carrier": "nanoclaw_runner.carrier",
}

# Isolated and without `site`: some 5 ms less at every start, and nothing in the environment or the group's directory
# can put itself into the runner.
_COMMAND = """\
#!/bin/sh
exec {python} -IS -c 'import sys
sys.path += ["{runner}/lib", "{agent}/lib"]
from {module} import main
main()' "$@"
"""


def recipe_directory() -> Path:
    """Where Dockerfile, locks and recipes lie: inside the installed package, else `container/` of the checkout."""
    package = Path(nanoclaw.__file__).parent
    installed = package / "_container"
    return installed if installed.is_dir() else package.parents[1] / "container"


def runner_files(python: str) -> dict[str, bytes]:
    """Everything below `/opt/nanoclaw`, by relative path.

    Args:
        python: the interpreter's name or path inside the sandbox.
    """
    package = Path(nanoclaw.__file__).parent
    runner = package.parent / "nanoclaw_runner"
    files = {f"lib/nanoclaw/{name}": (package / name).read_bytes() for name in _SHARED_MODULES}
    for source in runner.rglob("*.py"):
        files[f"lib/nanoclaw_runner/{source.relative_to(runner).as_posix()}"] = source.read_bytes()
    for name, module in _COMMANDS.items():
        text = _COMMAND.format(python=python, runner=RUNNER_DIRECTORY, agent=AGENT_DIRECTORY, module=module)
        files[f"bin/{name}"] = text.encode()
    return files


def write_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` below `directory`, readable for everybody, executable below a `bin`."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if path.parent.name == "bin" else 0o644)
    make_readable(directory)


def make_readable(directory: Path) -> None:
    """Let everybody read all of it and execute what its owner may, whatever the umask was: agents are another user."""
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))


def fingerprint(files: Mapping[str, bytes], *parameters: str) -> str:
    """12 hex digits that change when any name, content or parameter does."""
    digest = hashlib.sha256(repr(parameters).encode())
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode())
        digest.update(files[name])
    return digest.hexdigest()[:12]


async def making(what: str, argv: Sequence[str], env: Mapping[str, str]) -> AsyncGenerator[str]:
    """Run a command that makes or fetches `what`; yields what it prints.

    Raises:
        SandboxError: it failed.
    """
    try:
        async with aclosing(command_lines(argv, env, _MAKING_SECONDS)) as lines:
            async for line in lines:
                yield line
    except SandboxError as error:
        cure = "the lines above say why; if a download failed, try again once this machine has a network"
        raise SandboxError(f"{what} could not be made: {error.hint or error}", cure) from error
