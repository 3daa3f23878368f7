"""The scripted models, asked by the real Codex and the real Claude Code on the bare host, and by plain HTTP."""

import importlib.util
import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard

from nanoclaw.testing.models import (
    USAGE,
    Conversation,
    FaultKind,
    ScriptedAnthropic,
    ScriptedOpenAI,
    ScriptedServer,
    Step,
    fault,
    first,
    say,
    shell,
    steps,
    synthetic_auth_json,
)

CLI_SECONDS = 60
PROMPT = """You are Andy. Answer the <messages>.
<messages>
<message sender="Bob" time="2026-01-31 12:00">one &lt; two</message>
<message sender="Eve" time="2026-01-31 12:01">MARKER-7</message>
</messages>"""
ECHO = say(lambda conversation: " + ".join(conversation.messages))
WRITE_THEN_TELL = steps(
    shell("echo written > note; cat note; exit 3"),
    shell("echo again"),
    say(lambda conversation: " then ".join(output.strip() for output in conversation.tool_outputs)),
)
CODEX_CONFIG = """
model_provider = "scripted"
approval_policy = "never"
sandbox_mode = "danger-full-access"
chatgpt_base_url = "{chatgpt_base_url}"
openai_base_url = "{base_url}"
check_for_update_on_startup = false
analytics.enabled = false
[features]
apps = false
plugins = false
remote_plugin = false
unbounded_connection_retries = false
[model_providers.scripted]
name = "scripted"
base_url = "{base_url}"
wire_api = "responses"
env_key = "SCRIPTED_KEY"
supports_websockets = false
request_max_retries = 0
stream_max_retries = 0
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A home for a CLI; below /tmp Codex refuses to make what it needs."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="nanoclaw-test-") as name:
        yield Path(name)


def beside_package(package: str, relative: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / relative


def environment(home: Path, **variables: str) -> dict[str, str]:
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "TZ": "UTC", **variables}


def start_codex(home: Path, server: ScriptedOpenAI, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    codex_home = home / ".codex"
    codex_home.mkdir(exist_ok=True)
    config = CODEX_CONFIG.format(base_url=server.base_url, chatgpt_base_url=server.chatgpt_base_url)
    (codex_home / "config.toml").write_text(config)
    return subprocess.Popen(
        [beside_package("codex_cli_bin", "bin/codex"), *arguments],
        env=environment(home, CODEX_HOME=str(codex_home), SCRIPTED_KEY="sk-scripted", **variables),
        cwd=home,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def start_claude(home: Path, server: ScriptedAnthropic, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    options = ("-p", "--output-format", "stream-json", "--verbose", "--permission-mode", "bypassPermissions")
    limits = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "CLAUDE_CODE_MAX_RETRIES": "0", "IS_SANDBOX": "1"}
    return subprocess.Popen(
        [beside_package("claude_agent_sdk", "_bundled/claude"), *options, *arguments],
        env=environment(home, ANTHROPIC_BASE_URL=server.base_url, **limits, **variables),
        cwd=home,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def events_of(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """Every event that a CLI prints until it ends by itself."""
    with process:
        try:
            output, _ = process.communicate(timeout=CLI_SECONDS)
        finally:
            process.kill()
    return [json.loads(line) for line in output.splitlines()]


def codex_exec(home: Path, server: ScriptedOpenAI, *options: str, prompt: str = PROMPT) -> list[dict[str, Any]]:
    return events_of(start_codex(home, server, "exec", "--skip-git-repo-check", "--json", *options, prompt))


def claude_print(
    home: Path, server: ScriptedAnthropic, *options: str, prompt: str = PROMPT, **credential: str
) -> dict[str, Any]:
    credential = credential or {"ANTHROPIC_API_KEY": "sk-scripted"}
    return events_of(start_claude(home, server, *options, prompt, **credential))[-1]


def said_by_codex(events: list[dict[str, Any]]) -> list[str]:
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    return [item["text"] for item in items if item["type"] == "agent_message"]


def failure_of_codex(events: list[dict[str, Any]]) -> str:
    assert events[-1]["type"] == "turn.failed", events
    return events[-1]["error"]["message"]


# Codex


def test_codex_says_what_the_script_makes_of_the_messages(home: Path) -> None:
    (home / "AGENTS.md").write_text("Rules of the house.")
    with ScriptedOpenAI(ECHO) as server:
        events = codex_exec(home, server)
        [asked] = server.conversations
    assert said_by_codex(events) == ["one < two + MARKER-7"]
    assert asked.prompt == PROMPT
    assert "Rules of the house." in asked.system
    assert asked.headers["authorization"] == "Bearer sk-scripted"
    usage = events[-1]["usage"]
    assert usage["input_tokens"] == USAGE.input_tokens
    assert usage["cached_input_tokens"] == USAGE.cached_input_tokens
    assert usage["output_tokens"] == USAGE.output_tokens


@pytest.mark.parametrize("model", ["gpt-5.5", "gpt-6.1-sol"], ids=["function tools", "code mode"])
def test_codex_runs_what_the_script_wants_and_tells_what_came_out(home: Path, model: str) -> None:
    with ScriptedOpenAI(WRITE_THEN_TELL) as server:
        events = codex_exec(home, server, "-m", model)
        assert [len(asked.tool_outputs) for asked in server.conversations] == [0, 1, 2]
        assert server.conversations[0].model == model
    assert said_by_codex(events) == ["written then again"]
    assert (home / "note").read_text() == "written\n"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("auth", "401 Unauthorized"),
        ("rate_limited", "429 Too Many Requests"),
        ("billing", "Quota exceeded"),
        ("overloaded", "at capacity"),
        ("context_too_long", "context window"),
        ("dropped", "stream disconnected"),
    ],
)
def test_codex_fails_in_words_that_fit_the_fault(home: Path, kind: FaultKind, words: str) -> None:
    with ScriptedOpenAI(fault(kind)) as server:
        assert words in failure_of_codex(codex_exec(home, server))
        assert len(server.conversations) == 1


def test_codex_tells_when_its_usage_limit_resets(home: Path) -> None:
    resets_at = datetime.now(UTC).replace(minute=37) + timedelta(hours=1)
    with ScriptedOpenAI(fault("usage_limit", resets_at=resets_at)) as server:
        said = failure_of_codex(codex_exec(home, server))
    assert "usage limit" in said
    assert ":37" in said


def test_codex_may_end_well_without_an_answer(home: Path) -> None:
    with ScriptedOpenAI(fault("empty")) as server:
        events = codex_exec(home, server)
    assert events[-1]["type"] == "turn.completed"
    assert said_by_codex(events) == []


def test_codex_takes_a_text_of_a_megabyte(home: Path) -> None:
    with ScriptedOpenAI(say("x" * 1_000_000)) as server:
        assert said_by_codex(codex_exec(home, server)) == ["x" * 1_000_000]


@pytest.mark.parametrize("kind", ["no_headers", "silent"])
def test_a_hanging_codex_is_released_when_the_server_closes(home: Path, kind: FaultKind) -> None:
    with ScriptedOpenAI(fault(kind)) as server:
        process = start_codex(home, server, "exec", "--skip-git-repo-check", "--json", PROMPT)
        server.wait_for(1)
    assert failure_of_codex(events_of(process))


def test_codex_refreshes_an_expired_chatgpt_sign_in_and_shows_the_new_token(home: Path) -> None:
    auth = home / ".codex/auth.json"
    auth.parent.mkdir()
    auth.write_text(json.dumps(synthetic_auth_json(account_id="account-7", expires_in=-60)))
    with ScriptedOpenAI(ECHO) as server:
        chatgpt = ("exec", "--skip-git-repo-check", "--json", "-c", "model_provider=openai", PROMPT)
        process = start_codex(home, server, *chatgpt, CODEX_REFRESH_TOKEN_URL_OVERRIDE=server.token_url)
        assert said_by_codex(events_of(process)) == ["one < two + MARKER-7"]
        [asked] = server.conversations
        paths = {request.path for request in server.requests}
    tokens = json.loads(auth.read_text())["tokens"]
    assert asked.headers["authorization"] == f"Bearer {tokens['access_token']}"
    assert asked.headers["chatgpt-account-id"] == "account-7"
    assert asked.headers["content-encoding"] == "zstd"
    assert {"/oauth/token", "/v1/models", "/backend-api/wham/accounts/check"} <= paths


def test_codex_signs_in_by_device_code(home: Path) -> None:
    with ScriptedOpenAI(ECHO) as server:
        server.sign_in.pending_polls = 0
        with start_codex(home, server, "login", "--device-auth", "--experimental_issuer", server.issuer_url) as login:
            printed, _ = login.communicate(timeout=CLI_SECONDS)
    assert login.returncode == 0
    assert "ABCD-1234" in printed
    assert json.loads((home / ".codex/auth.json").read_text())["tokens"]["refresh_token"]


# Claude Code


def test_claude_says_what_the_script_makes_of_the_messages(home: Path) -> None:
    (home / "CLAUDE.md").write_text("Rules of the house.")
    with ScriptedAnthropic(ECHO) as server:
        result = claude_print(home, server)
        [asked] = server.conversations
    assert result["result"] == "one < two + MARKER-7"
    assert asked.prompt == PROMPT
    assert "Rules of the house." in asked.system
    assert asked.headers["x-api-key"] == "sk-scripted"
    assert result["usage"]["input_tokens"] == USAGE.input_tokens
    assert result["usage"]["cache_read_input_tokens"] == USAGE.cached_input_tokens
    assert result["usage"]["output_tokens"] == USAGE.output_tokens


def test_claude_runs_what_the_script_wants_and_tells_what_came_out(home: Path) -> None:
    with ScriptedAnthropic(WRITE_THEN_TELL) as server:
        result = claude_print(home, server)
    assert result["result"] == "Exit code 3\nwritten then again"
    assert (home / "note").read_text() == "written\n"


def test_a_resumed_session_is_answered_by_its_newest_prompt_alone(home: Path) -> None:
    with ScriptedAnthropic(WRITE_THEN_TELL) as server:
        session = claude_print(home, server)["session_id"]
        server.script = fault("overloaded")
        claude_print(home, server, "--resume", session, prompt="never answered")
        server.script = say(lambda conversation: f"{conversation.prompt}: {len(conversation.tool_outputs)}")
        assert claude_print(home, server, "--resume", session, prompt="newest")["result"] == "newest: 0"


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("auth", 401, "Invalid API key"),
        ("billing", 400, "Credit balance is too low"),
        ("context_too_long", 400, "Prompt is too long"),
    ],
)
def test_claude_fails_in_words_that_fit_the_fault(home: Path, kind: FaultKind, status: int, words: str) -> None:
    with ScriptedAnthropic(fault(kind)) as server:
        result = claude_print(home, server)
    assert result["is_error"]
    assert result["api_error_status"] == status
    assert words in result["result"]


def test_claude_with_a_subscription_tells_when_its_five_hours_reset(home: Path) -> None:
    resets_at = datetime.now(UTC).replace(minute=37) + timedelta(hours=1)
    with ScriptedAnthropic(fault("usage_limit", resets_at=resets_at)) as server:
        result = claude_print(home, server, CLAUDE_CODE_OAUTH_TOKEN="sk-ant-oat01-scripted")
        assert server.conversations[0].headers["authorization"] == "Bearer sk-ant-oat01-scripted"
    assert "5-hour limit" in result["result"]
    assert ":37" in result["result"]


def test_claude_recovers_from_one_dropped_stream(home: Path) -> None:
    with ScriptedAnthropic(first(1, fault("dropped"), ECHO)) as server:
        assert claude_print(home, server)["result"] == "one < two + MARKER-7"
        assert len(server.conversations) == 2


def test_a_hanging_claude_is_released_when_the_server_closes(home: Path) -> None:
    with ScriptedAnthropic(fault("no_headers")) as server:
        process = start_claude(home, server, PROMPT, ANTHROPIC_API_KEY="sk-scripted")
        server.wait_for(1)
    assert events_of(process)[-1]["is_error"]


# Plain HTTP


def ask_openai(client: httpx.Client, server: ScriptedServer, key: str = "key", prompt: str = "hi") -> httpx.Response:
    body = {"model": "m", "input": [{"type": "message", "role": "user", "content": prompt}]}
    return client.post(f"{server.base_url}/responses", json=body, headers={"authorization": f"Bearer {key}"})


def refresh(client: httpx.Client, server: ScriptedOpenAI, token: str) -> tuple[int, dict[str, Any]]:
    response = client.post(server.token_url, json={"grant_type": "refresh_token", "refresh_token": token})
    return response.status_code, response.json()


def test_leaving_the_context_leaves_no_thread_and_no_listener() -> None:
    before = set(threading.enumerate())
    with httpx.Client() as client:
        with ScriptedOpenAI(ECHO) as server:
            ask_openai(client, server)  # keeps its connection open
            assert set(threading.enumerate()) > before
        assert set(threading.enumerate()) == before
        with pytest.raises(httpx.TransportError):
            ask_openai(client, server)


def test_an_exception_of_the_script_comes_out_of_the_context() -> None:
    def broken(conversation: Conversation) -> str:
        raise LookupError(conversation.prompt)

    with (
        httpx.Client() as client,
        pytest.raises(LookupError, match="hi"),
        ScriptedOpenAI(say(broken)) as server,
        pytest.raises(httpx.TransportError),
    ):
        ask_openai(client, server)


def test_a_client_that_leaves_in_the_middle_of_its_request_is_neither_recorded_nor_a_failure() -> None:
    with httpx.Client() as client, ScriptedOpenAI(ECHO) as server:
        address = ("127.0.0.1", httpx.URL(server.origin).port or 0)
        with socket.create_connection(address) as leaver:
            leaver.sendall(b"POST /v1/responses HTTP/1.1\r\ncontent-length: 100\r\n\r\n{")
        ask_openai(client, server)  # by its answer, the connection before it has been accepted too
    assert len(server.requests) == 1


def test_waiting_for_requests_that_do_not_come_ends() -> None:
    with ScriptedOpenAI(ECHO) as server, pytest.raises(TimeoutError, match="0 model requests"):
        server.wait_for(1, timeout=0.01)


def test_a_text_may_come_word_by_word() -> None:
    with httpx.Client() as client, ScriptedOpenAI(say("one two three", pause=0.001)) as server:
        assert ask_openai(client, server).text.count("event: response.output_text.delta") == 3


def test_what_the_clis_ask_beside_the_model_is_answered() -> None:
    upgrade = {"connection": "upgrade", "upgrade": "websocket"}
    with httpx.Client() as client, ScriptedOpenAI(ECHO) as openai, ScriptedAnthropic(ECHO) as anthropic:
        assert client.get(f"{openai.base_url}/models").json()["models"] == []
        assert client.get(f"{openai.chatgpt_base_url}/wham/usage").json() == {}
        assert client.post(f"{openai.base_url}/responses/compact", json={}).json() == {"output": []}
        assert client.get(f"{openai.base_url}/responses", headers=upgrade).status_code == 426
        assert client.get(f"{openai.base_url}/unknown").status_code == 404
        assert client.head(f"{anthropic.base_url}/api/hello").status_code == 200
        tokens = client.post(f"{anthropic.base_url}/v1/messages/count_tokens", json={})
        assert tokens.json() == {"input_tokens": USAGE.input_tokens}
        assert client.get(f"{anthropic.base_url}/unknown").status_code == 404
        assert openai.conversations == anthropic.conversations == []


def test_a_script_may_answer_each_credential_differently() -> None:
    def by_key(conversation: Conversation) -> Step:
        return say("welcome") if conversation.headers["authorization"] == "Bearer good" else fault("auth")

    with httpx.Client() as client, ScriptedOpenAI(by_key) as server:
        assert "welcome" in ask_openai(client, server, "good").text
        assert ask_openai(client, server, "bad").status_code == 401


def test_a_request_without_a_credential_and_one_with_an_expired_token_are_refused() -> None:
    expired = synthetic_auth_json(expires_in=-1)["tokens"]["access_token"]
    valid = synthetic_auth_json()["tokens"]["access_token"]
    with httpx.Client() as client, ScriptedOpenAI(ECHO) as openai, ScriptedAnthropic(ECHO) as anthropic:
        assert client.post(f"{openai.base_url}/responses", json={}).status_code == 401
        assert client.post(f"{anthropic.base_url}/v1/messages", json={}).status_code == 401
        assert ask_openai(client, openai, expired).status_code == 401
        assert ask_openai(client, openai, valid).status_code == 200


def test_a_refresh_token_works_once_and_its_reuse_revokes_the_whole_family() -> None:
    with httpx.Client() as client, ScriptedOpenAI(ECHO) as server:
        _, granted = refresh(client, server, "original")
        status, second = refresh(client, server, granted["refresh_token"])
        assert status == 200
        status, refused = refresh(client, server, "original")
        assert (status, refused["error"]["code"]) == (401, "refresh_token_reused")
        status, refused = refresh(client, server, second["refresh_token"])
        assert (status, refused["error"]["code"]) == (401, "refresh_token_invalidated")
        assert refresh(client, server, "of another family")[0] == 200


def test_the_token_endpoint_refuses_as_it_is_told() -> None:
    with httpx.Client() as client, ScriptedOpenAI(ECHO) as server:
        server.sign_in.refuse_with = "refresh_token_expired"
        status, refused = refresh(client, server, "token")
        assert (status, refused["error"]["code"]) == (401, "refresh_token_expired")
        server.sign_in.refuse_with = "server_error"
        assert refresh(client, server, "token")[0] == 500
        server.sign_in.refuse_with = None
        assert refresh(client, server, "token")[0] == 200


def test_bodies_may_come_in_chunks_or_compressed_and_are_recorded_decoded() -> None:
    raw = json.dumps({"model": "m", "input": []}).encode()
    with httpx.Client(headers={"authorization": "Bearer key"}) as client, ScriptedOpenAI(say("ok")) as server:
        url = f"{server.base_url}/responses"
        client.post(url, content=iter([raw[:5], raw[5:]]))
        client.post(url, content=zstandard.compress(raw), headers={"content-encoding": "zstd"})
        assert [request.body for request in server.requests] == [json.loads(raw)] * 2


def test_both_models_can_be_served_by_hand() -> None:
    command = [sys.executable, "-m", "nanoclaw.testing.models", "--say", "by hand"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, httpx.Client() as client:
        assert process.stdout is not None
        printed = dict(process.stdout.readline().strip().split("=", 1) for _ in range(4))
        message = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        answer = client.post(
            f"{printed['ANTHROPIC_BASE_URL']}/v1/messages", json=message, headers={"x-api-key": "key"}
        ).json()
        process.send_signal(signal.SIGTERM)
        assert process.wait(CLI_SECONDS) == 0
    assert answer["content"] == [{"type": "text", "text": "by hand"}]
    assert printed["OPENAI_BASE_URL"].endswith("/v1")


def test_a_sequence_of_steps_must_end_the_turn() -> None:
    with pytest.raises(ValueError, match="never ends"):
        steps(say("first"), shell("ls"))
