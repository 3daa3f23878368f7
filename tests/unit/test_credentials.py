"""Who is signed in, and what the gateway is told to add."""

import json
import os
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nanoclaw.config import Home
from nanoclaw.credentials import redact, resolve
from nanoclaw.credentials.login import read_login
from nanoclaw.errors import ConfigError, CredentialError
from nanoclaw.model import AuthMethod, CodexConfig, Folder, Jid, RegisteredGroup
from nanoclaw.providers import ProviderName

FAMILY = Folder("family")
OPENAI = {"OPENAI_API_KEY": "sk-openai-secret"}
LOGIN = {"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": {"access_token": "jwt-secret", "account_id": "acc"}}


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
    """Place an auth.json as a person, or the agent, would."""
    path = home.data / "codex" / FAMILY / ".codex" / "auth.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


# --- codex -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secrets", [{}, OPENAI])
@pytest.mark.parametrize("auth_method", [None, "chatgpt"])
def test_a_chatgpt_login_is_taken_whether_or_not_there_is_a_key(
    home: Home, secrets: dict[str, str], auth_method: AuthMethod | None
):
    put_login(home)
    credential = resolve(group(auth_method=auth_method), secrets, home)
    assert (credential.method, credential.secret, credential.note) == ("chatgpt", None, "")
    assert credential.route.headers == {}
    assert credential.route.base_url == "https://chatgpt.com/backend-api/codex"
    assert credential.route.chatgpt_base_url == "https://chatgpt.com/backend-api"


def test_a_key_is_taken_when_there_is_no_login(home: Home):
    credential = resolve(group(), OPENAI, home)
    assert (credential.method, credential.secret, credential.note) == ("api_key", None, "")
    assert credential.route.headers == {"authorization": "Bearer sk-openai-secret"}
    assert credential.route.base_url == "https://api.openai.com/v1"
    assert credential.route.chatgpt_base_url is None


def test_the_key_is_taken_although_there_is_a_login_when_the_group_says_so(home: Home):
    put_login(home)
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
    assert f"CODEX_HOME={home.root}/data/codex/family/.codex codex login" in caught.value.hint


def test_a_group_that_insists_on_a_key_does_not_fall_back_to_a_login(home: Home):
    put_login(home)
    with pytest.raises(CredentialError) as caught:
        resolve(group(auth_method="api_key"), {}, home)
    assert caught.value.hint == f"put OPENAI_API_KEY into {home.env}"


def test_codex_base_urls_can_be_set(home: Home):
    secrets = {
        **OPENAI,
        "OPENAI_BASE_URL": "http://127.0.0.1:11434/v1/",
        "CHATGPT_BASE_URL": "http://[::1]:9/backend-api",
    }
    assert resolve(group(), secrets, home).route.base_url == "http://127.0.0.1:11434/v1"
    put_login(home)
    route = resolve(group(), secrets, home).route
    assert (route.base_url, route.chatgpt_base_url) == ("http://127.0.0.1:11434/v1", "http://[::1]:9/backend-api")


# --- claude ----------------------------------------------------------------------------------------------------------


def test_claude_takes_the_key_before_the_token(home: Home):
    secrets = {"ANTHROPIC_API_KEY": "sk-ant-secret", "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-secret"}
    credential = resolve(group("claude"), secrets, home)
    assert (credential.method, credential.secret) == ("api_key", None)
    assert credential.route.headers == {"x-api-key": "sk-ant-secret"}
    assert credential.route.base_url == "https://api.anthropic.com"


def test_claude_takes_the_token_which_the_cli_itself_must_have(home: Home):
    secrets = {"CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-secret", "ANTHROPIC_BASE_URL": "https://gw.example/anthropic"}
    credential = resolve(group("claude"), secrets, home)
    assert (credential.method, credential.secret) == ("oauth_token", "sk-ant-oat01-secret")
    assert credential.route.headers == {}
    assert credential.route.base_url == "https://gw.example/anthropic"


def test_nobody_signed_in_to_claude_names_what_to_do(home: Home):
    with pytest.raises(CredentialError, match="nobody is signed in to Claude Code for Family") as caught:
        resolve(group("claude"), OPENAI, home)
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


# --- the login file, which an agent can write ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-x"},
        {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-x", "tokens": {"access_token": "x"}},
        {"tokens": None},
        {"tokens": []},
        [],
        "text",
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"tokens": {}}' + b" " * (300 << 10),
    ],
    ids=range(11),
)
def test_a_file_that_is_no_chatgpt_login_counts_as_none_and_the_key_is_used(home: Home, content: object):
    put_login(home, content)
    credential = resolve(group(), OPENAI, home)
    assert credential.method == "api_key"
    assert "no ChatGPT login" in credential.note
    with pytest.raises(CredentialError):
        resolve(group(), {}, home)


def test_a_login_without_the_optional_fields_is_one(home: Home):
    put_login(home, {"tokens": {"access_token": "opaque"}})
    assert resolve(group(), {}, home).method == "chatgpt"


def test_a_login_behind_a_link_is_not_read(home: Home, tmp_path: Path):
    path = put_login(home)
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    assert read_login(home, FAMILY) == "other"
    path.unlink()
    path.hardlink_to(tmp_path / "elsewhere.json")
    assert read_login(home, FAMILY) == "other"


@pytest.mark.parametrize("step", ["data", "data/codex", "data/codex/family", "data/codex/family/.codex"])
def test_no_directory_on_the_way_may_be_a_link(home: Home, tmp_path: Path, step: str):
    put_login(home)
    place = home.root / step
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert read_login(home, FAMILY) == "other"


def test_what_is_no_plain_file_does_not_hold_the_host_up(home: Home):
    path = put_login(home)
    path.unlink()
    os.mkfifo(path)
    assert read_login(home, FAMILY) == "other"
    path.unlink()
    path.mkdir()
    assert read_login(home, FAMILY) == "other"


def test_reading_a_login_leaves_no_file_open(home: Home):
    before = len(list(Path("/dev/fd").iterdir()))
    for content in (LOGIN, b"", b" " * (300 << 10)):
        put_login(home, content)
        read_login(home, FAMILY)
    assert read_login(home, Folder("nobody")) == "none"
    assert len(list(Path("/dev/fd").iterdir())) == before


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["tokens", "auth_mode", "x"]), inner),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ANY_JSON)
@example({"tokens": {}, "auth_mode": "apikey"})
def test_no_json_breaks_the_judgement(tmp_path_factory: pytest.TempPathFactory, value: object):
    home = Home(tmp_path_factory.getbasetemp() / "any-json")
    put_login(home, value)
    auth = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    is_login = isinstance(auth.get("tokens"), dict) and auth.get("auth_mode") != "apikey"
    assert read_login(home, FAMILY) == ("chatgpt" if is_login else "other")


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
