"""Who is signed in, what a run is given, and what the gateway is told to add."""

import json
import os
import stat
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nanoclaw.config import CredentialMode, Home
from nanoclaw.credentials import given as giving
from nanoclaw.credentials import redact, resolve
from nanoclaw.credentials.accounts import adopt_login, as_json, describe, log_out, save_key, sign_in_directory
from nanoclaw.credentials.choice import token_url
from nanoclaw.credentials.keys import group_env
from nanoclaw.credentials.login import parse_login
from nanoclaw.credentials.spent import find_spent, mark_spent, note_refusal, unmark
from nanoclaw.credentials.store import Place
from nanoclaw.errors import ConfigError, CredentialError, SandboxError
from nanoclaw.model import AuthMethod, CodexConfig, Folder, Jid, RegisteredGroup
from nanoclaw.providers import ProviderName
from nanoclaw.testing.models import ACCOUNT_ID, synthetic_auth_json

FAMILY = Folder("family")
OPENAI = {"OPENAI_API_KEY": "sk-openai-secret"}
LOGIN = synthetic_auth_json()
NOW = datetime.now(UTC)


def group(provider: ProviderName = "codex", auth_method: AuthMethod | None = None) -> RegisteredGroup:
    return RegisteredGroup(
        jid=Jid("local:family"),
        name="Family",
        folder=FAMILY,
        trigger="@Andy",
        added_at="2026-01-31T12:00:00Z",
        provider=provider,
        codex=CodexConfig(auth_method=auth_method),
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def put_login(home: Home, content: object = LOGIN) -> Path:
    """Place an auth.json in the group's `.codex`, as a person, or the agent, would."""
    path = home.data / "codex" / FAMILY / ".codex" / "auth.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def auth(**changes: Any) -> bytes:  # noqa: ANN401 - as the function has them
    return json.dumps(synthetic_auth_json(**changes)).encode()


def sign_in_host(home: Home, **changes: Any) -> None:  # noqa: ANN401 - as the function has them
    adopt_login(home, auth(**changes))


def stored(home: Home, folder: Folder | None = None) -> dict[str, Any] | None:
    place = Place(home, folder)
    path = home.root.joinpath(*place.parts, "auth.json")
    return json.loads(path.read_bytes()) if path.exists() else None


# --- codex -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secrets", [{}, OPENAI])
@pytest.mark.parametrize("auth_method", [None, "chatgpt"])
@pytest.mark.parametrize("whose", ["host", "family"])
def test_a_chatgpt_login_is_taken_whether_or_not_there_is_a_key(
    home: Home, secrets: dict[str, str], auth_method: AuthMethod | None, whose: str
):
    adopt_login(home, auth(), None if whose == "host" else FAMILY)
    credential = resolve(group(auth_method=auth_method), secrets, home)
    assert (credential.method, credential.where, credential.secret, credential.note) == ("chatgpt", whose, None, "")
    assert not credential.at_gateway
    assert credential.route.headers == {}
    assert credential.route.base_url == "https://chatgpt.com/backend-api/codex"
    assert credential.route.chatgpt_base_url == "https://chatgpt.com/backend-api"


def test_in_gateway_mode_the_login_stays_with_the_host(home: Home):
    sign_in_host(home)
    credential = resolve(group(), {}, home, "gateway")
    assert credential.login is not None
    assert (credential.method, credential.at_gateway) == ("chatgpt", True)
    bearer = f"Bearer {credential.login.login.access_token}"
    assert credential.route.headers == {"authorization": bearer, "chatgpt-account-id": ACCOUNT_ID}
    assert credential.route.base_url == "https://chatgpt.com/backend-api/codex"
    assert credential.route.chatgpt_base_url is None


def test_a_key_is_taken_when_there_is_no_login(home: Home):
    credential = resolve(group(), OPENAI, home)
    assert (credential.method, credential.secret, credential.note, credential.at_gateway) == ("api_key", None, "", True)
    assert credential.route.headers == {"authorization": "Bearer sk-openai-secret"}
    assert credential.route.base_url == "https://api.openai.com/v1"
    assert credential.route.chatgpt_base_url is None


def test_the_key_is_taken_although_there_is_a_login_when_the_group_says_so(home: Home):
    sign_in_host(home)
    credential = resolve(group(auth_method="api_key"), OPENAI, home)
    assert (credential.method, credential.note) == ("api_key", "")
    assert credential.route.headers == {"authorization": "Bearer sk-openai-secret"}


def test_a_group_that_asks_for_a_login_and_has_none_falls_back_to_the_key_and_says_so(home: Home):
    credential = resolve(group(auth_method="chatgpt"), OPENAI, home)
    assert credential.method == "api_key"
    assert "OPENAI_API_KEY is used" in credential.note


@pytest.mark.parametrize("auth_method", [None, "chatgpt"])
def test_nobody_signed_in_names_the_command(home: Home, auth_method: AuthMethod | None):
    with pytest.raises(CredentialError, match="nobody is signed in to OpenAI Codex for Family") as caught:
        resolve(group(auth_method=auth_method), {}, home)
    assert "auth login codex" in caught.value.hint


def test_a_group_that_insists_on_a_key_does_not_fall_back_to_a_login(home: Home):
    sign_in_host(home)
    with pytest.raises(CredentialError) as caught:
        resolve(group(auth_method="api_key"), {}, home)
    assert "auth login codex --api-key" in caught.value.hint
    assert str(home.env) in caught.value.hint


def test_codex_base_urls_can_be_set(home: Home):
    urls = {"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1/", "CHATGPT_BASE_URL": "http://[::1]:9/backend-api"}
    assert resolve(group(), {**OPENAI, **urls}, home).route.base_url == "http://127.0.0.1:11434/v1"
    sign_in_host(home)
    route = resolve(group(), {**OPENAI, **urls}, home).route
    assert (route.base_url, route.chatgpt_base_url) == ("http://127.0.0.1:11434/v1", "http://[::1]:9/backend-api")


@pytest.mark.parametrize(
    ("auth_method", "own", "expected"),
    [
        (None, ("login", "key"), ("chatgpt", "family")),
        (None, ("key",), ("api_key", "family")),  # who gives a group a key of its own wants it used
        (None, (), ("chatgpt", "host")),
        ("chatgpt", ("login", "key"), ("chatgpt", "family")),
        ("chatgpt", ("key",), ("chatgpt", "host")),
        ("api_key", ("login", "key"), ("api_key", "family")),
        ("api_key", ("login",), ("api_key", "host")),
    ],
)
def test_what_is_the_groups_own_goes_before_the_hosts(
    home: Home, auth_method: AuthMethod | None, own: tuple[str, ...], expected: tuple[str, str]
):
    sign_in_host(home)
    if "login" in own:
        adopt_login(home, auth(account_id="own-account"), FAMILY)
    if "key" in own:
        save_key(home, "OPENAI_API_KEY", "sk-own", FAMILY)
    credential = resolve(group(auth_method=auth_method), OPENAI, home)
    assert (credential.method, credential.where) == expected
    if credential.method == "api_key":
        key = "sk-own" if credential.where == "family" else "sk-openai-secret"
        assert credential.route.headers == {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("auth_method", [None, "chatgpt"])
def test_a_login_that_has_ended_is_passed_over_and_that_is_said(home: Home, auth_method: AuthMethod | None):
    sign_in_host(home, expires_in=-10)
    login = Place(home).read()
    assert login is not None
    assert resolve(group(auth_method=auth_method), OPENAI, home).method == "chatgpt"  # the host can renew it
    note_refusal(home, login, "refresh_token_expired", NOW)
    credential = resolve(group(auth_method=auth_method), OPENAI, home)
    assert credential.method == "api_key"
    assert "refresh_token_expired" in credential.note
    with pytest.raises(CredentialError, match="refresh_token_expired") as caught:
        resolve(group(auth_method=auth_method), {}, home)
    assert "auth login codex" in caught.value.hint


def test_a_login_that_cannot_be_renewed_is_used_until_it_ends(home: Home):
    sign_in_host(home, expires_in=600)
    login = Place(home).read()
    assert login is not None
    mark_spent(home, login, NOW)
    credential = resolve(group(), OPENAI, home)
    assert credential.method == "chatgpt"
    assert "was lost" in credential.note


# --- claude ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["mounted", "gateway"])
def test_claude_takes_the_key_before_the_token(home: Home, mode: CredentialMode):
    secrets = {"ANTHROPIC_API_KEY": "sk-ant-secret", "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-secret"}
    credential = resolve(group("claude"), secrets, home, mode)
    assert (credential.method, credential.secret, credential.at_gateway) == ("api_key", None, True)
    assert credential.route.headers == {"x-api-key": "sk-ant-secret"}
    assert credential.route.base_url == "https://api.anthropic.com"


def test_claude_takes_the_token_which_the_cli_itself_must_have_if_mounted(home: Home):
    token = "sk-ant-oat01-secret"
    secrets = {"CLAUDE_CODE_OAUTH_TOKEN": token, "ANTHROPIC_BASE_URL": "https://gw.example/anthropic"}
    credential = resolve(group("claude"), secrets, home)
    assert (credential.method, credential.secret, credential.at_gateway) == ("oauth_token", token, False)
    assert credential.route.headers == {}
    assert credential.route.base_url == "https://gw.example/anthropic"


def test_in_gateway_mode_claudes_token_stays_with_the_host(home: Home):
    credential = resolve(group("claude"), {"CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-secret"}, home, "gateway")
    assert (credential.method, credential.secret, credential.at_gateway) == ("oauth_token", None, True)
    assert credential.route.headers == {"authorization": "Bearer sk-ant-oat01-secret"}


def test_a_group_with_a_token_of_its_own_is_not_given_the_hosts_key(home: Home):
    save_key(home, "CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-own", FAMILY)
    credential = resolve(group("claude"), {"ANTHROPIC_API_KEY": "sk-ant-secret", **OPENAI}, home)
    assert (credential.method, credential.where, credential.secret) == ("oauth_token", "family", "sk-ant-oat01-own")
    assert resolve(group("codex"), OPENAI, home).where == "host"


def test_nobody_signed_in_to_claude_names_what_to_do(home: Home):
    with pytest.raises(CredentialError, match="nobody is signed in to Claude Code for Family") as caught:
        resolve(group("claude"), OPENAI, home)
    assert "auth login claude" in caught.value.hint
    assert "claude setup-token" in caught.value.hint


def test_one_providers_broken_key_does_not_concern_the_other(home: Home):
    secrets = {"OPENAI_API_KEY": "no key", "ANTHROPIC_API_KEY": "sk-ant-secret"}
    assert resolve(group("claude"), secrets, home).method == "api_key"


# --- what is wrong in .env -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["sk with space", "sk-line\nbreak", "sk-ünïcode", "sk\x00"])
def test_what_cannot_be_a_key_is_said_and_not_repeated(home: Home, key: str):
    with pytest.raises(CredentialError) as caught:
        resolve(group(), {"OPENAI_API_KEY": key}, home)
    assert "OPENAI_API_KEY" in str(caught.value)
    assert key not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "url",
    [
        "api.openai.com/v1",
        "ftp://api.openai.com",
        "https://",
        "https:///v1",
        "https://user:password@api.openai.com/v1",
        "https://api.openai.com/v1?x=1",
        "https://api.openai.com/v1#x",
        "https://api.openai.com:0/v1",
        "https://api.openai.com:99999/v1",
        "https://[::1/v1",
        "https://api.openai.com/v1\r\nX: y",
        "https://api openai.com",
    ],
)
def test_a_wrong_base_url_is_said_by_its_name_and_not_repeated(home: Home, url: str):
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL") as caught:
        resolve(group(), {**OPENAI, "OPENAI_BASE_URL": url}, home)
    assert "password" not in f"{caught.value} {caught.value.hint}"


def test_an_issuer_can_be_set_and_decides_where_logins_are_renewed():
    assert token_url({}) == "https://auth.openai.com/oauth/token"
    assert token_url({"CHATGPT_ISSUER_URL": "http://127.0.0.1:9/dev/"}) == "http://127.0.0.1:9/dev/oauth/token"
    with pytest.raises(ConfigError, match="CHATGPT_ISSUER_URL"):
        token_url({"CHATGPT_ISSUER_URL": "auth.example"})


# --- a login ---------------------------------------------------------------------------------------------------------


def test_a_login_says_whose_it_is_and_until_when_and_shows_no_token():
    login = parse_login(auth(expires_in=3600))
    assert (login.email, login.plan, login.account_id) == ("person@example.test", "plus", ACCOUNT_ID)
    assert login.expires_at is not None
    assert login.lifetime == timedelta(hours=1)
    assert not any(token in repr(login) for token in login.tokens)


def test_what_a_run_is_given_has_everything_but_the_refresh_token():
    login = parse_login(auth())
    given = json.loads(login.for_run(NOW))
    assert given["tokens"] == {
        "id_token": login.id_token,
        "access_token": login.access_token,
        "refresh_token": "",  # Codex wants the field
        "account_id": ACCOUNT_ID,
    }
    assert given["last_refresh"]
    assert login.refresh_token not in json.dumps(given)


def test_a_login_without_an_account_takes_the_one_of_its_id_token():
    whole = synthetic_auth_json()
    del whole["tokens"]["account_id"]
    assert parse_login(json.dumps(whole).encode()).account_id == ACCOUNT_ID


def test_an_account_that_could_break_a_header_is_none():
    whole = synthetic_auth_json()
    whole["tokens"]["account_id"] = "acc\r\nx-evil: 1"
    assert "\n" not in parse_login(json.dumps(whole).encode()).account_id


@pytest.mark.parametrize(
    ("expires_in", "lifetime", "run_seconds", "needed"),
    [
        (86_400, 864_000, 1800, False),
        (2000, 864_000, 1800, True),  # it would end before the run, with the margin
        (2200, 864_000, 1800, False),
        (290, 600, 1800, True),  # tokens that never last for a run are renewed at their end, not for each run
        (310, 600, 1800, False),
        (40, 60, 1800, True),
        (-10, 3600, 10, True),
    ],
)
def test_a_login_is_renewed_when_it_would_not_outlive_the_run(
    expires_in: float, lifetime: float, run_seconds: float, needed: bool
):
    issued = parse_login(auth(expires_in=lifetime))
    assert issued.expires_at is not None
    later = issued.expires_at - timedelta(seconds=expires_in)
    assert issued.is_needed_anew(later, run_seconds) is needed


@pytest.mark.parametrize(("days", "needed"), [(7.9, False), (8.1, True)])
def test_a_token_that_does_not_say_when_it_ends_is_renewed_by_age(days: float, needed: bool):
    whole = synthetic_auth_json()
    whole["tokens"]["access_token"] = "opaque"
    login = parse_login(json.dumps(whole).encode())
    assert login.is_needed_anew(NOW + timedelta(days=days), 60) is needed
    assert not login.is_over(NOW + timedelta(days=1000))


NO_LOGINS: list[Any] = [
    {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-secret-x"},
    {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-secret-x", "tokens": LOGIN["tokens"]},
    {"OPENAI_API_KEY": "sk-secret-x"},
    {"tokens": None},
    {"tokens": []},
    {"tokens": {"access_token": "x"}},
    {"tokens": {**LOGIN["tokens"], "id_token": "no.j.wt"}},
    {"tokens": {**LOGIN["tokens"], "access_token": "with space"}},
    [],
    "text",
    b"",
    b"{",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"tokens": {}}' + b" " * (300 << 10),
]


@pytest.mark.parametrize("content", NO_LOGINS, ids=range(len(NO_LOGINS)))
def test_a_file_that_is_no_chatgpt_login_counts_as_none_and_the_key_is_used(home: Home, content: object):
    put_login(home, content)
    credential = resolve(group(), OPENAI, home)
    assert credential.method == "api_key"
    assert "no ChatGPT login" in credential.note
    with pytest.raises(CredentialError):
        resolve(group(), {}, home)
    with pytest.raises(CredentialError) as caught:
        adopt_login(home, content if isinstance(content, bytes) else json.dumps(content).encode())
    assert "secret" not in f"{caught.value} {caught.value.hint}"
    assert stored(home) is None


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.text() | st.floats() | st.integers(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["tokens", "auth_mode", "id_token", "access_token", "last_refresh", "account_id", "x"]),
            inner,
        )
    ),
    max_leaves=8,
)
ODD_CLAIMS = st.dictionaries(st.sampled_from(["exp", "iat", "email", "https://api.openai.com/auth"]), ANY_JSON)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ANY_JSON)
@example({"tokens": {}, "auth_mode": "apikey"})
def test_no_json_breaks_the_judgement(value: object):
    try:
        parse_login(json.dumps(value).encode())
    except CredentialError:
        return
    assert isinstance(cast("dict[str, object]", value)["tokens"], dict)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ODD_CLAIMS, st.floats(0, 1e6))
@example({"exp": 1e300, "iat": -1e300}, 1.0)
@example({"exp": 253402300799, "iat": 0}, 1.0)
@example({"exp": -62135596800, "iat": 0}, 1.0)
@example({"exp": float("nan")}, 1.0)
def test_no_claims_break_the_judgement(claims: dict[str, object], seconds: float):
    token = f"e30.{urlsafe_b64encode(json.dumps({'x': 1, **claims}).encode()).decode().rstrip('=')}.x"
    login = parse_login(
        json.dumps({"tokens": {"id_token": token, "access_token": token, "refresh_token": "rt"}}).encode()
    )
    login.is_needed_anew(NOW, seconds)
    login.is_over(NOW)
    assert isinstance(login.email + login.plan, str)
    assert login.renew_at is None or login.renew_at.tzinfo is not None


# --- the group's .codex, which an agent can rearrange ----------------------------------------------------------------


def test_a_whole_login_in_the_groups_directory_is_its_own_at_once_and_then_in_the_hosts_keeping(home: Home):
    sign_in_host(home)
    path = put_login(home)
    credential = resolve(group(), {}, home)
    assert (credential.method, credential.where) == ("chatgpt", "family")
    giving.adopt_found(home, FAMILY)
    assert not path.exists()
    kept = stored(home, FAMILY)
    assert kept is not None
    assert kept["tokens"] == LOGIN["tokens"]
    assert resolve(group(), {}, home).where == "family"


def test_a_newer_login_of_a_person_replaces_the_groups_own(home: Home):
    adopt_login(home, auth(), FAMILY)
    put_login(home)
    giving.adopt_found(home, FAMILY)
    kept = stored(home, FAMILY)
    assert kept is not None
    assert kept["tokens"]["refresh_token"] == LOGIN["tokens"]["refresh_token"]


def test_a_copy_of_the_hosts_login_is_removed_and_the_hosts_is_used(home: Home):
    adopt_login(home, json.dumps(LOGIN).encode())
    path = put_login(home)
    giving.adopt_found(home, FAMILY)
    assert not path.exists()
    assert stored(home, FAMILY) is None
    assert resolve(group(), {}, home).where == "host"


def test_an_old_copy_of_the_groups_login_does_not_replace_the_newer_one(home: Home):
    old = parse_login(json.dumps(LOGIN).encode())
    mark_spent(home, old, NOW)
    adopt_login(home, auth(), FAMILY)
    newer = stored(home, FAMILY)
    put_login(home)
    giving.adopt_found(home, FAMILY)
    assert stored(home, FAMILY) == newer


def test_what_a_run_is_given_is_taken_back(home: Home):
    path = put_login(home, b"old")
    giving.give(home, FAMILY, parse_login(auth()).for_run(NOW))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_bytes())["tokens"]["refresh_token"] == ""
    giving.take_back(home, FAMILY, NOW)
    assert list(path.parent.iterdir()) == []


def test_a_login_that_an_agent_left_is_not_believed_but_kept_aside(home: Home):
    path = put_login(home)
    giving.note_visit(home, FAMILY)
    assert giving.visited_groups(home) == [FAMILY]
    with pytest.raises(CredentialError):
        resolve(group(), {}, home)
    giving.take_back(home, FAMILY, NOW)
    giving.forget_visit(home, FAMILY)
    assert not path.exists()
    assert giving.visited_groups(home) == []
    ((kept, at),) = giving.refused_logins(home, FAMILY)
    assert at == NOW.replace(microsecond=0)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert adopt_login(home, kept, FAMILY).who == "person@example.test"


def test_an_agent_cannot_pile_up_refused_logins(home: Home):
    for second in range(9):
        put_login(home, auth())
        giving.take_back(home, FAMILY, NOW + timedelta(seconds=second))
    assert len(giving.refused_logins(home, FAMILY)) == 5


def test_a_file_that_is_no_login_is_left_to_whom_it_belongs(home: Home):
    path = put_login(home, {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-x"})
    giving.take_back(home, FAMILY, NOW)
    assert path.exists()


def link(path: Path, outside: Path) -> None:
    outside.write_bytes(auth())
    path.symlink_to(outside)


def dangling(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "nowhere")


def hard_link(path: Path, outside: Path) -> None:
    outside.write_bytes(auth())
    path.hardlink_to(outside)


def fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def directory(path: Path, outside: Path) -> None:
    (path / "deep" / "deeper").mkdir(parents=True)
    (path / "auth.json").write_bytes(auth())


def unreadable(path: Path, outside: Path) -> None:
    path.write_bytes(auth(refresh_token=""))
    path.chmod(0)


def huge(path: Path, outside: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


TRICKS = [link, dangling, hard_link, fifo, directory, unreadable, huge]


@pytest.mark.parametrize("trick", TRICKS)
def test_whatever_an_agent_makes_of_its_copy_the_next_run_is_given_one(
    home: Home, tmp_path_factory: pytest.TempPathFactory, trick: Callable[[Path, Path], None]
):
    outside = tmp_path_factory.mktemp("outside") / "file"
    path = put_login(home)
    path.unlink()
    trick(path, outside)
    before = outside.read_bytes() if outside.is_file() else None
    giving.give(home, FAMILY, parse_login(auth()).for_run(NOW))
    assert path.is_file()
    assert not path.is_symlink()
    path.unlink()
    trick(path, outside) if trick not in (link, hard_link) else None
    giving.take_back(home, FAMILY, NOW)
    assert not os.path.lexists(path)
    assert (outside.read_bytes() if outside.is_file() else None) == before
    assert giving.refused_logins(home, FAMILY) == []


@pytest.mark.parametrize("trick", [fifo, directory, dangling])
def test_what_blocks_the_temporary_name_blocks_nobody(home: Home, tmp_path: Path, trick: Callable[[Path, Path], None]):
    path = put_login(home)
    trick(path.parent / ".auth.json.given", tmp_path)
    giving.give(home, FAMILY, parse_login(auth()).for_run(NOW))
    assert json.loads(path.read_bytes())["tokens"]["refresh_token"] == ""


@pytest.mark.parametrize("step", ["data", "data/codex", "data/codex/family", "data/codex/family/.codex"])
def test_no_directory_on_the_way_may_be_a_link(home: Home, tmp_path_factory: pytest.TempPathFactory, step: str):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "place"
    put_login(home)
    place = home.root / step
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    assert giving.found_login(home, FAMILY) is None
    with pytest.raises(SandboxError):
        giving.give(home, FAMILY, b"{}")
    assert b"refresh_token" in next(elsewhere.rglob("auth.json"), elsewhere / "auth.json").read_bytes()


def test_looking_leaves_no_file_open(home: Home):
    before = len(list(Path("/dev/fd").iterdir()))
    for content in (LOGIN, b"", b" " * (300 << 10)):
        put_login(home, content)
        giving.found_login(home, FAMILY)
        resolve(group(), OPENAI, home)
    giving.give(home, FAMILY, b"{}")
    giving.take_back(home, FAMILY, NOW)
    describe(home)
    assert giving.found_login(home, Folder("nobody")) is None
    assert len(list(Path("/dev/fd").iterdir())) == before


# --- the host's own places -------------------------------------------------------------------------------------------


def test_everything_below_credentials_is_private(home: Home):
    home.credentials.mkdir(mode=0o755)
    sign_in_host(home)
    adopt_login(home, auth(), FAMILY)
    save_key(home, "OPENAI_API_KEY", "sk-own", FAMILY)
    login = Place(home).read()
    assert login is not None
    mark_spent(home, login, NOW)
    found = [home.credentials, *home.credentials.rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_file()} == {0o600}


@pytest.mark.parametrize("step", ["credentials", "credentials/codex", "credentials/spent"])
def test_a_link_in_the_place_of_a_private_directory_is_refused(
    home: Home, tmp_path_factory: pytest.TempPathFactory, step: str
):
    place = home.root / step
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(CredentialError, match="no directory of yours"):
        mark_spent(home, parse_login(auth()), NOW) if "spent" in step else sign_in_host(home)


def test_a_link_in_the_place_of_a_login_is_not_followed(home: Home, tmp_path: Path):
    sign_in_host(home)
    path = home.credentials / "codex" / "auth.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(CredentialError, match="symbolic link"):
        Place(home).read()


def test_what_somebody_was_saving_who_was_killed_is_completed(home: Home):
    sign_in_host(home)
    newer = parse_login(auth())
    unfinished = home.credentials / "codex" / ".auth.json.new"
    unfinished.write_bytes(newer.as_file())
    with Place(home).locked_here() as locked:
        assert locked.read() == newer
    unfinished.write_bytes(newer.as_file()[:-10])
    with Place(home).locked_here() as locked:
        assert locked.read() == newer
    assert not unfinished.exists()


# --- refresh tokens that were sent -----------------------------------------------------------------------------------


def test_a_refresh_token_is_sent_once_wherever_it_lies(home: Home):
    login = parse_login(auth())
    assert find_spent(home, login) is None
    mark_spent(home, login, NOW)
    with pytest.raises(CredentialError, match="copy"):
        mark_spent(home, login, NOW)
    found = find_spent(home, login)
    assert found is not None
    assert (found.at, found.refusal) == (NOW, "")
    with pytest.raises(CredentialError, match="copy"):
        adopt_login(home, login.as_file(), FAMILY)
    note_refusal(home, login, "refresh_token_reused", NOW)
    found = find_spent(home, login)
    assert found is not None
    assert found.refusal == "refresh_token_reused"
    unmark(home, login)
    mark_spent(home, login, NOW)
    assert not any(login.refresh_token in path.name for path in home.credentials.rglob("*"))


def test_a_note_that_was_not_finished_is_none_as_nothing_was_sent_before(home: Home):
    login = parse_login(auth())
    mark_spent(home, login, NOW)
    (note,) = (home.credentials / "spent").iterdir()
    note.write_bytes(b'{"at": "20')
    assert find_spent(home, login) is None
    mark_spent(home, login, NOW)
    assert find_spent(home, login) is not None


# --- accounts --------------------------------------------------------------------------------------------------------


def register(home: Home, **entries: dict[str, object]) -> None:
    home.data.mkdir(parents=True, exist_ok=True)
    plain = {"trigger": "@Andy", "added_at": "2026-01-31T12:00:00Z"}
    groups = {
        f"local:{name}": {"name": name.title(), "folder": name, **plain, **entry} for name, entry in entries.items()
    }
    home.registered_groups.write_text(json.dumps(groups))


def test_accounts_are_shown_with_the_groups_that_use_them_and_without_a_secret(
    home: Home, monkeypatch: pytest.MonkeyPatch
):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    register(home, family={"provider": "codex"}, work={"provider": "codex"}, main={}, quiet={"provider": "codex"})
    home.env.write_text("OPENAI_API_KEY=sk-secret\n")
    sign_in_host(home)
    adopt_login(home, auth(account_id="own"), Folder("work"))
    save_key(home, "OPENAI_API_KEY", "sk-secret-own", Folder("quiet"))
    put_login(home, auth())
    giving.take_back(home, FAMILY, NOW)
    shown = describe(home)
    assert shown.mode == "mounted"
    found = {(account.provider, account.where, account.method): account.groups for account in shown.accounts}
    assert found == {
        ("codex", "host", "chatgpt"): ("family",),
        ("codex", "host", "api_key"): (),
        ("codex", "work", "chatgpt"): ("work",),
        ("codex", "quiet", "api_key"): ("quiet",),
    }
    (main,) = [sign_in for sign_in in shown.groups if sign_in.folder == "main"]
    assert main.method is None
    assert "auth login claude" in main.hint
    (refused,) = shown.refused
    assert f"--group family --import {refused.path}" in refused.hint
    text = json.dumps(as_json(shown))
    assert "person@example.test" in text
    assert "secret" not in text
    for path in home.credentials.rglob("auth.json"):
        assert not any(token in text for token in parse_login(path.read_bytes()).tokens)


def test_an_account_says_what_is_wrong_with_it(home: Home):
    register(home, family={"provider": "codex"})
    sign_in_host(home, expires_in=600)
    login = Place(home).read()
    assert login is not None
    mark_spent(home, login, NOW)
    (account,) = [account for account in describe(home).accounts if account.method == "chatgpt"]
    assert "was lost" in account.problem
    assert account.hint == f"run `nanoclaw --home {home.root} auth login codex`"
    assert account.groups == ("family",)
    note_refusal(home, login, "refresh_token_expired", NOW)
    (account,) = [account for account in describe(home).accounts if account.method == "chatgpt"]
    assert "refresh_token_expired" in account.problem


@pytest.mark.parametrize("folder", [None, FAMILY])
def test_a_login_that_cannot_be_read_is_told_with_what_mends_it(home: Home, folder: Folder | None):
    register(home, family={"provider": "codex"})
    path = adopted(home, folder)
    path.write_text("{")
    (account,) = [account for account in describe(home).accounts if account.method == "chatgpt"]
    assert account.where == (folder or "host")
    assert str(path) in account.problem
    assert "auth login codex" in account.hint
    assert account.groups == ()


def adopted(home: Home, folder: Folder | None) -> Path:
    """Where a login lies that was taken over."""
    adopt_login(home, auth(), folder)
    return home.root.joinpath(*Place(home, folder).parts, "auth.json")


def test_a_login_without_a_refresh_token_is_not_taken_over(home: Home):
    with pytest.raises(CredentialError, match="no refresh token"):
        adopt_login(home, auth(refresh_token=""))


def test_a_login_that_is_not_there_is_said_with_its_path(home: Home, tmp_path: Path):
    with pytest.raises(CredentialError, match="nothing-here"):
        adopt_login(home, tmp_path / "nothing-here")
    with pytest.raises(CredentialError, match="cannot be read"):
        adopt_login(home, tmp_path)


def test_taking_over_ends_a_login_that_lies_in_the_groups_directory(home: Home):
    path = put_login(home)
    adopt_login(home, auth(), FAMILY)
    assert not path.exists()


def test_a_directory_for_a_sign_in_is_private_and_leaves_nothing(home: Home):
    with sign_in_directory(home) as place:
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert place.parent == home.credentials
        (place / "auth.json").write_bytes(auth())
        adopt_login(home, place / "auth.json")
    assert not place.exists()
    assert stored(home) is not None


def test_what_a_killed_sign_in_left_is_removed_by_a_later_one(home: Home):
    with sign_in_directory(home) as place:
        left = place.parent / "sign-in-left"
        left.mkdir()
        (left / "auth.json").write_bytes(auth())
        with sign_in_directory(home):
            assert left.exists()  # it may be going on
        os.utime(left, (0, 0))
        with sign_in_directory(home):
            assert not left.exists()
            assert place.exists()


@pytest.mark.parametrize("folder", [None, FAMILY])
def test_a_key_is_saved_beside_what_else_is_there(home: Home, folder: Folder | None):
    path = home.env if folder is None else group_env(home, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# mine\nexport OPENAI_API_KEY='old'\nOTHER=1\nOPENAI_API_KEY=older\nOPENAI_BASE_URL=http://x\n")
    assert save_key(home, "OPENAI_API_KEY", "sk-new", folder) == path
    assert path.read_text() == "# mine\nOPENAI_API_KEY=sk-new\nOTHER=1\nOPENAI_BASE_URL=http://x\n"
    save_key(home, "ANTHROPIC_API_KEY", "sk-ant-api-1", folder)
    assert path.read_text().endswith("OPENAI_BASE_URL=http://x\nANTHROPIC_API_KEY=sk-ant-api-1\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_file_behind_a_link_of_the_owners_stays_there(home: Home, tmp_path_factory: pytest.TempPathFactory):
    real = tmp_path_factory.mktemp("dotfiles") / "env"
    real.write_text("")
    home.env.symlink_to(real)
    save_key(home, "OPENAI_API_KEY", "sk-new")
    assert home.env.is_symlink()
    assert real.read_text() == "OPENAI_API_KEY=sk-new\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_API_KEY", ""),
        ("OPENAI_API_KEY", "two secret"),
        ("OPENAI_API_KEY", "sk-secret\nX=1"),
        ("ANTHROPIC_API_KEY", "sk-ant-oat01-secret"),
        ("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-api03-secret"),
        ("PATH", "sk-secret"),
    ],
)
def test_what_can_be_no_such_key_is_not_saved_and_not_repeated(home: Home, name: str, value: str):
    with pytest.raises(CredentialError) as caught:
        save_key(home, name, value)
    assert "secret" not in f"{caught.value} {caught.value.hint}"
    assert not home.env.exists()


@pytest.mark.parametrize("folder", [None, FAMILY])
def test_logging_out_removes_login_and_keys_of_that_provider_alone(home: Home, folder: Folder | None):
    adopt_login(home, auth(), folder)
    save_key(home, "OPENAI_API_KEY", "sk-1", folder)
    save_key(home, "CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-x", folder)
    removed = log_out(home, "codex", folder)
    path = home.env if folder is None else group_env(home, folder)
    assert removed == ("the ChatGPT login", f"OPENAI_API_KEY in {path}")
    assert stored(home, folder) is None
    assert path.read_text() == "CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-x\n"
    assert log_out(home, "claude", folder) == (f"CLAUDE_CODE_OAUTH_TOKEN in {path}",)
    assert log_out(home, "codex", folder) == log_out(home, "claude", folder) == ()


def test_logging_a_group_out_removes_a_login_that_nobody_has_taken_over_yet(home: Home):
    path = put_login(home)
    assert log_out(home, "codex", FAMILY) == ("the ChatGPT login",)
    assert not path.exists()


def test_a_broken_env_of_a_group_is_said_with_its_path_and_without_its_content(home: Home):
    group_env(home, FAMILY).parent.mkdir(parents=True)
    group_env(home, FAMILY).write_text("sk-secret\n")
    with pytest.raises(ConfigError, match=r"family/\.env line 1") as caught:
        resolve(group(), {}, home)
    assert "secret" not in f"{caught.value} {caught.value.hint}"


# --- nothing shows a secret ------------------------------------------------------------------------------------------


def test_a_credential_does_not_show_its_secrets(home: Home):
    secrets = {"CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-secret", **OPENAI}
    shown = repr(resolve(group("claude"), secrets, home)) + repr(resolve(group(), secrets, home))
    assert "secret" not in shown.replace("secret=", "")


def test_known_secrets_are_taken_out_of_a_text_and_base_urls_are_not():
    secrets = {"A": "sk-12345678", "B": "sk-1234567890", "C": "short", "OPENAI_BASE_URL": "https://gw.example/v1"}
    text = "sk-1234567890 sk-12345678 short https://gw.example/v1 sk-12345678."
    assert redact(text, secrets) == "[secret] [secret] short https://gw.example/v1 [secret]."


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(), st.dictionaries(st.text(max_size=5), st.text(alphabet="abc[]", min_size=8, max_size=12), max_size=4))
def test_no_known_secret_survives(text: str, secrets: dict[str, str]):
    for value in secrets.values():
        text += value
    redacted = redact(text, secrets)
    assert not any(value in redacted for value in secrets.values())
