"""The doctor and the metrics of a host in a process of its own, whose agent has answered."""

import subprocess
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from nanoclaw.metrics import CONTENT_TYPE, METRICS
from nanoclaw.selftest import echo
from nanoclaw.testing.models import say
from nanoclaw.testing.world import World, make_world
from nanoclaw.web.access import page_token
from tests.e2e.test_cli import Cli

pytestmark = pytest.mark.e2e

_KEY = "sk-test-0123456789"


@pytest.fixture
def world() -> Generator[World]:
    with make_world(say(echo), say(echo), engine="bubblewrap") as made:
        made.secrets(OPENAI_API_KEY=_KEY)
        made.register("main", provider="codex")
        yield made


@pytest.fixture
def cli(world: World) -> Cli:
    return Cli(world.home.root)


@pytest.fixture
def host(cli: Cli) -> Generator[subprocess.Popen[str]]:
    process = cli.start()
    yield process
    process.kill()
    process.communicate(timeout=30)


def problems(answer: dict[str, Any]) -> set[str]:
    return {finding["problem"] for finding in answer["findings"]} - {None}


def checks(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["check"]: finding for finding in answer["findings"]}


def test_a_host_that_has_answered_is_healthy_and_one_that_was_killed_is_missed(
    cli: Cli, world: World, host: subprocess.Popen[str]
) -> None:
    cli("send", "hello", "--wait", "60")
    answer = cli.json("doctor")
    assert answer["healthy"]
    found = checks(answer)
    assert found["host"]["what"].startswith("version ")
    assert "held at" in found["proof of main in bubblewrap"]["what"]
    assert found["way to " + world.openai.base_url.split("/")[2]]["what"] == "it answers"
    assert "runs since" not in cli("doctor", "--offline").stderr
    host.kill()
    host.wait(30)
    answer = cli.json("doctor", "--offline")
    assert "host-absent" in problems(answer)
    assert not [check for check in checks(answer) if check.startswith("way to")]


def test_fix_mends_what_it_can_says_what_it_did_and_leaves_the_rest(cli: Cli, world: World) -> None:
    world.home.env.chmod(0o644)
    world.home.logs.rmdir()
    world.home.registered_groups.write_text("{", encoding="utf-8")
    before = cli.json("doctor", "--offline", code=1)
    assert {"home-exposed", "home-incomplete", "groups-broken"} <= problems(before)
    assert before["mended"] == []
    after = cli.json("doctor", "--fix", "--offline", code=1)
    assert len(after["mended"]) == 2
    assert [each["failed"] for each in after["mended"] if "private" in each["does"]] == []
    assert world.home.env.stat().st_mode & 0o777 == 0o600
    assert "home-exposed" not in problems(after)
    assert "groups-broken" in problems(after)
    told = cli("doctor", "--offline", code=1).stdout.splitlines()
    assert told[0].startswith("error   ")
    assert any(line.strip().startswith("→ ") for line in told)


def test_the_metrics_tell_of_a_run_and_are_shown_to_who_has_the_key(
    cli: Cli, world: World, host: subprocess.Popen[str]
) -> None:
    assert host.poll() is None
    cli("send", "hello", "--wait", "60")
    port = cli.json("status")["page"]["port"]
    token = page_token(world.home.page_token)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as anybody:
        assert anybody.get("/metrics").status_code == 403
        answer = anybody.get("/metrics", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == CONTENT_TYPE
    lines = answer.text.splitlines()
    for told in (
        'nanoclaw_runs_total{outcome="done",provider="codex"} 1.0',
        'nanoclaw_deliveries_total{outcome="sent"} 1.0',
        'nanoclaw_proofs_total{outcome="held",sandbox="bubblewrap"} 1.0',
        'nanoclaw_gateway_requests_total{group="main",to="provider",verdict="allowed"} 1.0',
        'nanoclaw_channel_connected{channel="local"} 1.0',
        "nanoclaw_runs_waiting 0.0",
        *(f'nanoclaw_stage_seconds_count{{stage="{stage}"}} 1.0' for stage in ("store", "queue", "start", "agent")),
        *(f'nanoclaw_stage_seconds_count{{stage="{stage}"}} 1.0' for stage in ("send", "answer")),
    ):
        assert told in lines
    assert {line.split()[2] for line in lines if line.startswith("# TYPE")} <= METRICS.keys()
