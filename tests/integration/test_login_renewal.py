"""Renewing a ChatGPT login: one owner, one renewal, and no refresh token that the server sees twice."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from nanoclaw.clock import SystemClock
from nanoclaw.config import CredentialMode, Home
from nanoclaw.credentials import Access, Keeper
from nanoclaw.credentials.accounts import adopt_login, save_key
from nanoclaw.credentials.login import Login
from nanoclaw.credentials.renewal import CLIENT_ID, why_ended
from nanoclaw.credentials.store import Place
from nanoclaw.errors import CredentialError
from nanoclaw.testing.models import ScriptedOpenAI, TokenRefusal, say, synthetic_auth_json
from tests.integration.renewing import FAMILY, RUN_SECONDS, sign_in

pytestmark = pytest.mark.anyio

SOON = 200.0
"""Seconds until the access token ends: a run needs a new one, and this one still works."""


@pytest.fixture
def server() -> Generator[ScriptedOpenAI]:
    with ScriptedOpenAI(say("hello")) as server:
        yield server


def home_with(path: Path, issuer: str, expires_in: float = SOON, **changes: object) -> Home:
    """A home whose host is signed in, with a token that ends so soon."""
    home = Home(path)
    path.mkdir(exist_ok=True)
    home.env.write_text(f"CHATGPT_ISSUER_URL={issuer}\n")
    auth: dict[str, object] = {**synthetic_auth_json(expires_in=expires_in), **changes}
    adopt_login(home, json.dumps(auth).encode())
    return home


def keeper(home: Home, mode: CredentialMode = "mounted", clock: SystemClock | None = None) -> Keeper:
    return Keeper(home, mode, clock or SystemClock(), lambda: [FAMILY.folder])


def login_of(home: Home) -> Login:
    login = Place(home).read()
    assert login is not None
    return login


def token_of(access: Access) -> str:
    assert access.credential.login is not None
    return access.credential.login.login.access_token


def seconds_left(login: Login) -> float:
    assert login.expires_at is not None
    return (login.expires_at - datetime.now(UTC)).total_seconds()


class Later(SystemClock):
    """The machine's clock, ahead by `by`."""

    def __init__(self) -> None:
        self.by = timedelta()

    def now(self) -> datetime:
        return super().now() + self.by


async def test_a_login_that_would_not_outlive_the_run_is_renewed_as_codex_does_it(
    tmp_path: Path, server: ScriptedOpenAI
) -> None:
    home = home_with(tmp_path, server.issuer_url)
    old = login_of(home)
    access = await keeper(home).for_run(FAMILY, RUN_SECONDS)
    new = login_of(home)
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/oauth/token")
    assert request.body == {
        "client_id": CLIENT_ID,
        "grant_type": "refresh_token",
        "refresh_reason": "proactive_expiry",
        "refresh_token": old.refresh_token,
    }
    assert token_of(access) == new.access_token != old.access_token
    assert new.refresh_token != old.refresh_token
    assert seconds_left(new) > RUN_SECONDS
    assert access.given is not None
    given = json.loads(access.given)
    assert given["tokens"]["access_token"] == new.access_token
    assert given["tokens"]["refresh_token"] == ""


async def test_a_login_that_outlives_the_run_is_left_alone(tmp_path: Path, server: ScriptedOpenAI) -> None:
    home = home_with(tmp_path, server.issuer_url, expires_in=RUN_SECONDS + 400)
    await keeper(home).for_run(FAMILY, RUN_SECONDS)
    assert server.requests == []


async def test_twenty_runs_at_once_cost_one_renewal(tmp_path: Path, server: ScriptedOpenAI) -> None:
    home = home_with(tmp_path, server.issuer_url)
    one, other = keeper(home), keeper(home)  # as two processes would: they share nothing but the files
    got: list[str] = []

    async def run(owner: Keeper) -> None:
        got.append(token_of(await owner.for_run(FAMILY, RUN_SECONDS)))

    async with anyio.create_task_group() as runs:
        for number in range(20):
            runs.start_soon(run, (one, other)[number % 2])
    assert set(got) == {login_of(home).access_token}
    assert len(got) == 20
    assert len(server.sign_in.sent) == 1


async def test_a_renewal_that_takes_long_holds_up_nobody_whose_token_is_good_enough(
    tmp_path: Path, server: ScriptedOpenAI
) -> None:
    home, later = home_with(tmp_path, server.issuer_url, expires_in=3600), Later()
    later.by = timedelta(minutes=45)
    owner, asked, go_on = keeper(home, clock=later), threading.Event(), threading.Event()

    def watch(step: str) -> None:
        if step == "asked":
            asked.set()
            assert go_on.wait(30)

    server.sign_in.watch = watch
    old = login_of(home)
    async with anyio.create_task_group() as runs:
        runs.start_soon(owner.for_run, FAMILY, RUN_SECONDS)
        assert await anyio.to_thread.run_sync(asked.wait, 30)
        with anyio.fail_after(20):
            assert token_of(await owner.for_run(FAMILY, 60.0)) == old.access_token
        go_on.set()
    assert login_of(home).access_token != old.access_token


async def test_an_answer_is_saved_although_nobody_waits_for_it_any_more(tmp_path: Path, server: ScriptedOpenAI) -> None:
    home = home_with(tmp_path, server.issuer_url)
    old, asked, go_on = login_of(home), threading.Event(), threading.Event()

    def watch(step: str) -> None:
        asked.set()
        assert go_on.wait(30)

    server.sign_in.watch = watch
    async with anyio.create_task_group() as runs:
        runs.start_soon(keeper(home).for_run, FAMILY, RUN_SECONDS)
        assert await anyio.to_thread.run_sync(asked.wait, 30)
        runs.cancel_scope.cancel()
        go_on.set()
    assert login_of(home).access_token != old.access_token


@pytest.mark.parametrize("refusal", ["refresh_token_expired", "refresh_token_invalidated"])
async def test_a_refused_token_is_never_sent_again(
    tmp_path: Path, server: ScriptedOpenAI, refusal: TokenRefusal
) -> None:
    home = home_with(tmp_path, server.issuer_url)
    server.sign_in.refuse_with = refusal
    old = login_of(home)
    for _ in range(3):
        assert token_of(await keeper(home).for_run(FAMILY, RUN_SECONDS)) == old.access_token
    server.sign_in.refuse_with = None
    access = await keeper(home).for_run(FAMILY, RUN_SECONDS)
    assert refusal in access.credential.note
    assert server.sign_in.sent == [old.refresh_token]


async def test_a_refused_login_that_has_ended_asks_for_a_new_one_or_takes_the_key(
    tmp_path: Path, server: ScriptedOpenAI
) -> None:
    home = home_with(tmp_path, server.issuer_url, expires_in=-5)
    server.sign_in.refuse_with = "refresh_token_expired"
    with pytest.raises(CredentialError, match="refresh_token_expired") as caught:
        await keeper(home).for_run(FAMILY, RUN_SECONDS)
    assert not caught.value.retryable
    assert "auth login codex" in caught.value.hint
    save_key(home, "OPENAI_API_KEY", "sk-fallback")
    access = await keeper(home).for_run(FAMILY, RUN_SECONDS)
    assert access.credential.method == "api_key"
    assert "refresh_token_expired" in access.credential.note
    assert len(server.sign_in.sent) == 1


async def test_a_groups_own_login_that_has_ended_gives_way_to_the_hosts(tmp_path: Path, server: ScriptedOpenAI) -> None:
    home = home_with(tmp_path, server.issuer_url, expires_in=86_400)
    adopt_login(home, json.dumps(synthetic_auth_json(expires_in=-5)).encode(), FAMILY.folder)
    server.sign_in.refuse_with = "refresh_token_expired"
    access = await keeper(home).for_run(FAMILY, RUN_SECONDS)
    assert access.credential.where == "host"


async def test_where_the_answer_was_lost_the_token_is_not_sent_again_and_that_is_said(
    tmp_path: Path, server: ScriptedOpenAI
) -> None:
    home, later = home_with(tmp_path, server.issuer_url), Later()
    server.sign_in.lose_answers = True
    old = login_of(home)
    for _ in range(2):
        assert token_of(await keeper(home).for_run(FAMILY, RUN_SECONDS)) == old.access_token  # while it lives
    server.sign_in.lose_answers = False
    assert "was lost" in why_ended(Place(home), old)
    later.by = timedelta(seconds=SOON)
    with pytest.raises(CredentialError, match="was lost") as caught:
        await keeper(home, clock=later).for_run(FAMILY, RUN_SECONDS)
    assert "auth login codex" in caught.value.hint
    await keeper(home, clock=later).renew_ahead()
    assert server.sign_in.sent == [old.refresh_token]
    adopt_login(home, json.dumps(synthetic_auth_json()).encode())
    await keeper(home, clock=later).for_run(FAMILY, RUN_SECONDS)


@pytest.mark.parametrize("expires_in", [SOON, -5])
async def test_a_server_with_a_fault_is_asked_again_later(
    tmp_path: Path, server: ScriptedOpenAI, expires_in: float
) -> None:
    home = home_with(tmp_path, server.issuer_url, expires_in)
    server.sign_in.refuse_with = "server_error"
    if expires_in > 0:
        await keeper(home).for_run(FAMILY, RUN_SECONDS)
    else:
        with pytest.raises(CredentialError, match="status 500") as caught:
            await keeper(home).for_run(FAMILY, RUN_SECONDS)
        assert caught.value.retryable
    server.sign_in.refuse_with = None
    await keeper(home).for_run(FAMILY, RUN_SECONDS)
    assert seconds_left(login_of(home)) > RUN_SECONDS
    assert server.sign_in.reused == []


async def test_a_server_that_cannot_be_reached_costs_nothing(tmp_path: Path, server: ScriptedOpenAI) -> None:
    home = home_with(tmp_path, "http://127.0.0.1:1", expires_in=-5)
    with pytest.raises(CredentialError, match="cannot be reached") as caught:
        await keeper(home).for_run(FAMILY, RUN_SECONDS)
    assert caught.value.retryable
    home.env.write_text(f"CHATGPT_ISSUER_URL={server.issuer_url}\n")
    await keeper(home).for_run(FAMILY, RUN_SECONDS)
    assert len(server.sign_in.sent) == 1


async def test_whoever_writes_an_auth_json_does_not_choose_where_its_token_goes(
    tmp_path: Path, server: ScriptedOpenAI
) -> None:
    with ScriptedOpenAI(say("hello")) as evil:
        auth = synthetic_auth_json(expires_in=SOON)
        auth["tokens"]["oauth_provenance"] = {"issuer": evil.issuer_url, "client_id": "app_evil"}
        home = home_with(tmp_path, server.issuer_url, **auth)
        await keeper(home).for_run(FAMILY, RUN_SECONDS)
        assert evil.requests == []
    assert len(server.sign_in.sent) == 1


async def test_logins_are_renewed_ahead_of_need(tmp_path: Path, server: ScriptedOpenAI) -> None:
    home, later = home_with(tmp_path, server.issuer_url, expires_in=10 * 86_400), Later()
    adopt_login(home, json.dumps(synthetic_auth_json(expires_in=86_400)).encode(), FAMILY.folder)
    owner = keeper(home, clock=later)
    assert await owner.renew_ahead() == 3600  # the longest pause: commands may have changed something
    later.by = timedelta(hours=20)
    await owner.renew_ahead()
    assert len(server.sign_in.sent) == 1
    later.by = timedelta(days=8, hours=1)
    server.sign_in.refuse_with = "server_error"
    assert await owner.renew_ahead() == 60
    server.sign_in.refuse_with = None
    await owner.renew_ahead()
    assert server.sign_in.reused == []
    assert len(set(server.sign_in.sent)) >= 2


async def test_the_gateway_adds_the_newest_token_to_each_request(tmp_path: Path, server: ScriptedOpenAI) -> None:
    home, later = home_with(tmp_path, server.issuer_url, expires_in=3600), Later()
    owner = keeper(home, "gateway", later)
    route = (await owner.for_run(FAMILY, RUN_SECONDS)).credential.route
    before = dict(route.headers)
    later.by = timedelta(minutes=50)
    await owner.renew_ahead()
    assert route.headers["authorization"] == f"Bearer {login_of(home).access_token}" != before["authorization"]
    assert set(route.headers) == {"authorization", "chatgpt-account-id"}


async def test_a_login_that_the_provider_refuses_is_renewed_once_in_an_hour(
    tmp_path: Path, server: ScriptedOpenAI
) -> None:
    home, later = home_with(tmp_path, server.issuer_url, expires_in=86_400), Later()
    later.by = timedelta(hours=2)
    owner = keeper(home, clock=later)
    first = await owner.for_run(FAMILY, RUN_SECONDS)
    assert owner.suspect(first)
    second = await owner.for_run(FAMILY, RUN_SECONDS)
    assert token_of(second) != token_of(first)
    assert not owner.suspect(second)
    assert token_of(await owner.for_run(FAMILY, RUN_SECONDS)) == token_of(second)
    assert len(server.sign_in.sent) == 1


async def test_a_server_whose_tokens_end_soon_is_not_asked_for_every_run(
    tmp_path: Path, server: ScriptedOpenAI
) -> None:
    home, later = home_with(tmp_path, server.issuer_url), Later()
    server.sign_in.lifetime = timedelta(seconds=100)
    owner = keeper(home, clock=later)
    for _ in range(5):
        await owner.for_run(FAMILY, RUN_SECONDS)
    assert len(server.sign_in.sent) == 1
    later.by = timedelta(seconds=60)
    await owner.for_run(FAMILY, RUN_SECONDS)
    assert len(server.sign_in.sent) == 2


async def test_no_token_is_logged(tmp_path: Path, server: ScriptedOpenAI, capsys: pytest.CaptureFixture[str]) -> None:
    home = home_with(tmp_path, server.issuer_url)
    tokens = set(login_of(home).tokens)
    happens: list[tuple[bool, TokenRefusal | None]] = [(False, "server_error"), (False, None), (True, None)]
    for lose, refusal in happens:
        server.sign_in.lose_answers, server.sign_in.refuse_with = lose, refusal
        server.sign_in.lifetime = timedelta(seconds=SOON)
        await keeper(home).for_run(FAMILY, RUN_SECONDS)
        await keeper(home).renew_ahead()
        tokens |= set(login_of(home).tokens)
    said = capsys.readouterr()
    assert "login.not_renewed" in said.out
    assert not any(token in said.out + said.err for token in tokens)


async def test_nothing_is_asked_where_the_answer_could_not_be_saved(tmp_path: Path, server: ScriptedOpenAI) -> None:
    home = home_with(tmp_path, server.issuer_url, expires_in=-5)
    (home.credentials / "codex" / ".auth.json.new").mkdir()  # as good as a full disk
    with pytest.raises(CredentialError) as caught:
        await keeper(home).for_run(FAMILY, RUN_SECONDS)
    assert server.requests == []
    (home.credentials / "codex" / ".auth.json.new").rmdir()
    assert "cannot be" in str(caught.value)
    await keeper(home).for_run(FAMILY, RUN_SECONDS)


# --- kill -9 ---------------------------------------------------------------------------------------------------------


async def is_in_order(home: Home, server: ScriptedOpenAI) -> bool:
    """After a kill: the login works, or it says that the answer was lost; whether it works."""
    old = login_of(home)
    access = await sign_in(home)
    login = login_of(home)
    lost = bool(why_ended(Place(home), login))
    assert token_of(access) == login.access_token
    if lost:
        assert login == old
        assert "was lost" in access.credential.note
    else:
        assert seconds_left(login) > RUN_SECONDS
    assert server.sign_in.reused == []
    return not lost


async def test_a_kill_at_any_step_leaves_a_login_that_works_or_says_that_the_answer_was_lost(
    tmp_path: Path, server: ScriptedOpenAI
) -> None:
    outcomes: list[bool] = []
    command = [sys.executable, "-m", "tests.integration.renewing"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220
        assert process.stdin
        assert process.stdout
        killed = True
        while killed:
            home = home_with(tmp_path / str(len(outcomes)), server.issuer_url)
            process.stdin.write(json.dumps({"home": str(home.root), "step": len(outcomes) + 1}) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            assert not answer["failed"]
            killed = answer["killed"]
            outcomes.append(await is_in_order(home, server))
        process.stdin.close()
    assert outcomes[0]
    assert outcomes[-1]
    assert False in outcomes
    first, last = outcomes.index(False), len(outcomes) - outcomes[::-1].index(False)
    assert not any(outcomes[first:last]), "in between it is lost, before and after it is not"


@contextmanager
def victim(home: Home) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.integration.renewing"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdin
        process.stdin.write(json.dumps({"home": str(home.root), "step": 0}) + "\n")
        process.stdin.flush()
        yield process


@pytest.mark.parametrize("when", ["asked", "answering"])
async def test_a_kill_while_the_server_is_at_it_says_that_the_answer_was_lost(
    tmp_path: Path, server: ScriptedOpenAI, when: str
) -> None:
    home = home_with(tmp_path, server.issuer_url)
    with victim(home) as process:

        def watch(step: str) -> None:
            if step == when:
                os.killpg(process.pid, signal.SIGKILL)

        server.sign_in.watch = watch
        await anyio.to_thread.run_sync(process.wait, 30)
        server.sign_in.watch = None
    assert not await is_in_order(home, server)
    assert len(server.sign_in.sent) == 1
