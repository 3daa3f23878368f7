"""What agents find inside, in the real image and with the real toolkit, as `make test` built them."""

import json
import re
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from nanoclaw.config import SandboxSettings
from nanoclaw.model import Folder
from nanoclaw.sandbox.base import Mount, Sandbox, SandboxSpec
from nanoclaw.sandbox.bubblewrap import BubblewrapSandbox
from nanoclaw.sandbox.engine import EngineSandbox
from nanoclaw.sandbox.image import build_image
from nanoclaw.sandbox.payload import recipe_directory
from nanoclaw.sandbox.toolkit import build_toolkit

pytestmark = pytest.mark.anyio

SANDBOXES: dict[str, Callable[[], Sandbox]] = {
    "podman": lambda: EngineSandbox("podman", SandboxSettings()),
    "bubblewrap": lambda: BubblewrapSandbox(SandboxSettings()),
}


@pytest.fixture(params=SANDBOXES)
async def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    made = SANDBOXES[request.param]()
    health = await made.check()
    assert health.ok, health.reason
    assert await made.is_built(), "make test builds it"
    return made


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., SandboxSpec]:
    def make(*command: str) -> SandboxSpec:
        return SandboxSpec(
            name=f"nanoclaw-test-{secrets.token_hex(6)}",
            installation=secrets.token_hex(6),
            folder=Folder("family"),
            mounts=(Mount(source=tmp_path, target="/workspace/group", readonly=False),),
            command=command,
        )

    return make


async def output(sandbox: Sandbox, spec: SandboxSpec, *lines: bytes) -> list[str]:
    async with sandbox.start(spec) as process:
        for line in lines:
            await process.send_line(line)
        return [line.decode() async for line in process.lines(1 << 20)]


def pin(package: str) -> str:
    lock = (recipe_directory() / "agent.lock").read_text()
    return str(re.findall(rf"^{package}==(\S+)", lock, re.MULTILINE)[0])


async def test_agents_find_the_pinned_programs(sandbox: Sandbox, spec: Callable[..., SandboxSpec]) -> None:
    asks = (
        "codex --version 2>/dev/null; claude --version; for each in rg git curl; do $each --version | head -n 1; done"
    )
    codex, claude, *others = await output(sandbox, spec("sh", "-c", asks))
    assert codex == f"codex-cli {pin('openai-codex-cli-bin')}"
    assert claude.endswith("(Claude Code)")
    assert [line.split()[0] for line in others] == ["ripgrep", "git", "curl"]


async def test_the_interpreter_of_the_runner_can_load_the_pinned_sdk(
    sandbox: Sandbox, spec: Callable[..., SandboxSpec]
) -> None:
    load = 'import sys; sys.path.append("/opt/agent/lib"); import claude_agent_sdk; print(claude_agent_sdk.__version__)'
    asks = f"$(sed -n 's/^exec \\([^ ]*\\) .*/\\1/p' /opt/nanoclaw/bin/nanoclaw-runner) -IS -c '{load}'"
    assert await output(sandbox, spec("sh", "-c", asks)) == [pin("claude-agent-sdk")]


async def test_the_runner_starts_and_says_when_it_is_told_nonsense(
    sandbox: Sandbox, spec: Callable[..., SandboxSpec]
) -> None:
    *_, last = await output(sandbox, spec(), b'{"protocol": 0}')
    assert json.loads(last)["type"] == "failed"


async def test_everything_of_the_runner_is_compiled(sandbox: Sandbox, spec: Callable[..., SandboxSpec]) -> None:
    list_all = "find /opt/nanoclaw/lib -name '*.py*'"
    names = [Path(name) for name in await output(sandbox, spec("sh", "-c", list_all))]
    sources = {name.stem for name in names if name.suffix == ".py"}
    assert sources
    assert sources == {name.stem.partition(".")[0] for name in names if name.suffix == ".pyc"}


async def test_agents_cannot_change_what_they_are_given(sandbox: Sandbox, spec: Callable[..., SandboxSpec]) -> None:
    attempt = "for each in /opt/nanoclaw/bin /opt/nanoclaw/lib /opt/agent/bin; do touch $each/new || echo no; done"
    assert await output(sandbox, spec("sh", "-c", attempt)) == ["no"] * 3


@pytest.mark.parametrize("build", [lambda: build_image("podman", browser=False), build_toolkit])
async def test_nothing_is_done_where_everything_is_there(build: Callable[[], AsyncIterator[str]]) -> None:
    assert [line async for line in build()] == []
