"""The bare CLIs on the host: what a turn costs without us."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from nanoclaw.providers import ProviderName
from nanoclaw.sandbox.payload import AGENT_DIRECTORY
from nanoclaw.sandbox.toolkit import find_toolkit
from nanoclaw.testing.world import World

BareTurn = Callable[[World], None]
"""Runs one turn against the world's model server."""

_CODEX = """\
model_provider = "bench"
check_for_update_on_startup = false
[analytics]
enabled = false
[features]
apps = false
plugins = false
remote_plugin = false
[model_providers.bench]
name = "bench"
base_url = "{url}"
wire_api = "responses"
experimental_bearer_token = "sk-bench-0123456789"
supports_websockets = false
"""


def runner(provider: ProviderName) -> BareTurn:
    """How a bare turn of this provider is run."""
    return _codex if provider == "codex" else _claude


def _program(name: str) -> str:
    toolkit = find_toolkit()
    assert toolkit is not None, "run `nanoclaw image build --engine bubblewrap` first"
    agent = next(mount.source for mount in toolkit.binds if mount.target == AGENT_DIRECTORY)
    return os.fspath(agent / "bin" / name)


def _home(world: World, name: str) -> Path:
    home = world.home.root / "bare" / name
    home.mkdir(parents=True, exist_ok=True)
    return home


def _run(command: list[str], home: Path, **environment: str) -> None:
    clean = {"PATH": "/usr/bin:/bin", "HOME": os.fspath(home), **environment}
    subprocess.run(command, check=True, env=clean, cwd=home, input=b"hello", capture_output=True, timeout=60)


def _codex(world: World) -> None:
    home = _home(world, "codex")
    config = home / ".codex" / "config.toml"
    if not config.exists():
        config.parent.mkdir()
        config.write_text(_CODEX.format(url=world.openai.base_url), encoding="utf-8")
    command = [_program("codex"), "exec", "--json", "--skip-git-repo-check", "-s", "danger-full-access", "-"]
    _run(command, home, CODEX_HOME=os.fspath(config.parent))


def _claude(world: World) -> None:
    """Goes on with its session, as a group does."""
    home = _home(world, "claude")
    again = ["--continue"] if (home / ".claude").exists() else []
    command = [_program("claude"), "-p", *again, "--permission-mode", "bypassPermissions"]
    _run(
        [*command, "--output-format", "stream-json", "--verbose"],
        home,
        IS_SANDBOX="1",
        ANTHROPIC_API_KEY="sk-bench-0123456789",
        ANTHROPIC_BASE_URL=world.anthropic.base_url,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
    )
