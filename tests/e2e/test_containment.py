"""A run starts only in a sandbox that has been proven to hold, and only while its group has room on the disk."""

import json
import logging
import os
import secrets
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from typer.testing import CliRunner

from nanoclaw.cli import app
from nanoclaw.config import command_environment
from nanoclaw.logs import set_up_logging
from nanoclaw.sandbox.image import find_image
from nanoclaw.selftest import echo
from nanoclaw.testing.models import Conversation, say, shell
from nanoclaw.testing.models.script import Step
from nanoclaw.testing.world import World, make_world

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

_KEY = "sk-very-secret-0123456789"
_TOKEN = "sk-ant-oat01-very-secret-0123456789"
_QUOTA = 60 << 20
_SETTINGS = "[runs]\nretry_base_seconds = 0.1\nmax_attempts = 2\n"


def signed_in(world: World, provider: str = "codex") -> None:
    world.secrets(OPENAI_API_KEY=_KEY, ANTHROPIC_API_KEY=_KEY)
    world.register("main", provider=provider)


def add_to_sandbox_settings(world: World, line: str) -> None:
    text = world.home.settings.read_text(encoding="utf-8")
    world.home.settings.write_text(text.replace("[sandbox]\n", f"[sandbox]\n{line}\n"), encoding="utf-8")


async def test_every_run_begins_with_a_proof_that_status_and_doctor_show(engine: str) -> None:
    with make_world(say(echo), say(echo), engine=engine) as world:
        signed_in(world)
        async with world.hosting() as client:
            assert [reply["text"] for reply in await world.ask(client, "main", "hello")] == ["You said: hello"]
            (proof,) = (await client.get("/v1/status"))["sandbox"]["proofs"]
        assert (proof["folder"], proof["sandbox"], proof["held"], proof["failed"]) == ("main", engine, True, {})
        assert 0 < proof["milliseconds"] < 10_000
        found = await anyio.to_thread.run_sync(
            CliRunner().invoke, app, ["--home", str(world.home.root), "doctor", "--json"]
        )
        lines = {finding["check"]: finding for finding in json.loads(found.output)["findings"]}
        assert lines[f"proof of main in {engine}"]["ok"] is True
        assert lines["home"]["ok"] is True


async def test_the_control_socket_is_for_its_owner_alone() -> None:
    with make_world(say(echo), say(echo), engine="bubblewrap") as world:
        async with world.hosting():
            status = world.home.control_socket.stat()
            assert (status.st_mode & 0o777, status.st_uid) == (0o600, os.geteuid())
            assert world.home.sockets.stat().st_mode & 0o777 == 0o700


@contextmanager
def an_image_whose_runner(says: dict[str, Any], agent_image: str) -> Generator[str]:
    """The agents' image, with a runner that answers whatever it is asked with this, and keeps what it is sent then."""
    tag = f"localhost/nanoclaw-test-{secrets.token_hex(4)}:1"
    runner = f"#!/bin/sh\nread -r asked\necho '{json.dumps(says)}'\ncat > /workspace/group/handed-over\n"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "nanoclaw-runner").write_text(runner, encoding="utf-8")
        recipe = f"FROM {agent_image}\nCOPY --chmod=755 nanoclaw-runner /opt/nanoclaw/bin/nanoclaw-runner\n"
        Path(folder, "Dockerfile").write_text(recipe, encoding="utf-8")
        _podman("build", "--isolation", "chroot", "--tag", tag, folder)
    try:
        yield tag
    finally:
        _podman("image", "rm", "--force", tag)


def _podman(*arguments: str) -> None:
    subprocess.run(["podman", *arguments], check=True, env=command_environment(), capture_output=True, timeout=60)


async def test_in_a_sandbox_that_does_not_hold_nothing_is_handed_over_and_the_chat_is_told_why() -> None:
    found = await find_image("podman")
    assert found, "`make test` builds it"
    from nanoclaw.wire import CHECKS, PROTOCOL

    checks = dict.fromkeys(CHECKS, "") | {"network": "there is an interface eth0"}
    says = {"type": "proof", "protocol": PROTOCOL, "checks": checks, "milliseconds": 3.0}
    with an_image_whose_runner(says, found) as image, make_world(say(echo), say(echo), engine="podman") as world:
        signed_in(world)
        add_to_sandbox_settings(world, f'image = "{image}"')
        async with world.hosting() as client:
            (reply,) = await world.ask(client, "main", "the prompt that nobody may see")
            (proof,) = (await client.get("/v1/status"))["sandbox"]["proofs"]
        assert reply["kind"] == "notice"
        assert "does not hold: network: there is an interface eth0" in reply["text"]
        assert "go around the gateway" in reply["text"]
        assert (proof["held"], proof["failed"]) == (False, {"network": "there is an interface eth0"})
        handed_over = await anyio.Path(world.home.groups / "main" / "handed-over").read_bytes()
        assert handed_over == b""
        assert world.openai.conversations == []
        found_by_doctor = await anyio.to_thread.run_sync(
            CliRunner().invoke, app, ["--home", str(world.home.root), "doctor"]
        )
        assert found_by_doctor.exit_code == 1
        assert "there is an interface eth0" in found_by_doctor.output


def greedy(conversation: Conversation) -> Step:
    """Fill the group's directory when asked to; else answer."""
    if "fill" in conversation.messages[-1] and not conversation.tool_outputs:
        return shell("for n in 1 2 3; do head -c 40000000 /dev/urandom > file-$n; done; sleep 60")
    return say(echo(conversation))


@pytest.mark.parametrize("engine", ["bubblewrap"])
async def test_a_group_that_takes_too_much_room_is_ended_told_and_refused_until_there_is_room(engine: str) -> None:
    with make_world(greedy, greedy, engine=engine, settings=_SETTINGS) as world:
        signed_in(world)
        add_to_sandbox_settings(world, f'disk = "{_QUOTA >> 20}m"')
        async with world.hosting() as client:
            for text in ("fill it", "hello"):
                (reply,) = await world.ask(client, "main", text)
                assert reply["kind"] == "notice"
                assert "take more room than they may" in reply["text"]
                assert "sandbox.disk" in reply["text"]
            for number in (1, 2, 3):
                await anyio.Path(world.home.groups / "main" / f"file-{number}").unlink(missing_ok=True)
            replies = await world.ask(client, "main", "hello again")
        assert replies[-1]["kind"] == "reply"


def largest(conversation: Conversation) -> Step:
    if not conversation.tool_outputs:
        return shell("head -c 200000000 /dev/zero > big; ls -ln big | awk '{print $5}'")
    return say(conversation.tool_outputs[-1])


async def test_no_file_grows_beyond_what_the_group_may_keep(engine: str) -> None:
    with make_world(largest, largest, engine=engine, settings=_SETTINGS) as world:
        signed_in(world)
        add_to_sandbox_settings(world, 'disk = "100m"')
        async with world.hosting() as client:
            await world.ask(client, "main", "go")
        assert (world.home.groups / "main" / "big").stat().st_size <= 100 << 20


@pytest.mark.parametrize("provider", ["codex", "claude"])
async def test_no_log_holds_a_secret_and_the_hosts_log_no_message(provider: str) -> None:
    said = f"the words of a person {secrets.token_hex(8)}"
    with make_world(say(echo), say(echo), engine="bubblewrap", settings=_SETTINGS) as world:
        world.secrets(OPENAI_API_KEY=_KEY, CLAUDE_CODE_OAUTH_TOKEN=_TOKEN)
        world.register("main", provider=provider)
        set_up_logging(world.home.logs, "debug", to_stderr=False)
        try:
            async with world.hosting() as client:
                (reply,) = await world.ask(client, "main", said)
        finally:
            set_up_logging(None, "warning", to_stderr=False)
        logging.shutdown()
        assert said in reply["text"]
        logs = {path: path.read_text(encoding="utf-8") for path in world.home.logs.rglob("*") if path.is_file()}
        assert len(logs) == 2
        assert not [path for path, text in logs.items() if _KEY in text or _TOKEN in text]
        assert said not in logs[world.home.logs / "nanoclaw.log"]
        assert "host.ready" in logs[world.home.logs / "nanoclaw.log"]
