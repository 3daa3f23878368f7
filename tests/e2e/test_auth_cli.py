"""Signing in and out on the command line: the real CLIs, scripted sign-in services, and a terminal for the person."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from typer.testing import CliRunner

from nanoclaw.cli import app
from nanoclaw.credentials.accounts import adopt_login, describe, save_key
from nanoclaw.errors import NanoclawError
from nanoclaw.sandbox.toolkit import find_program
from nanoclaw.selftest import echo
from nanoclaw.testing.models import say, synthetic_auth_json
from nanoclaw.testing.models.anthropic import SUBSCRIPTION_TOKEN
from nanoclaw.testing.world import World, make_world
from tests.e2e.terminal import AtTerminal, at_terminal
from tests.e2e.tls_far_end import tls_far_end

pytestmark = pytest.mark.e2e

_KEY = "sk-proj-0123456789abcdef"


class Auth:
    """`nanoclaw auth …` on a home, in a surrounding of its own."""

    def __init__(self, world: World, directory: Path, **environment: str) -> None:
        self.world = world
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            "HOME": str(directory),
            "XDG_DATA_HOME": os.environ.get("XDG_DATA_HOME") or str(Path("~/.local/share").expanduser()),
            **environment,
        }

    def __call__(self, *arguments: str, code: int = 0, stdin: str = "") -> str:
        """Run it without a terminal, in this process; answers all that it says."""
        done = CliRunner().invoke(app, self._arguments(arguments), input=stdin)
        said, got = done.output, done.exit_code
        match done.exception:
            case None | SystemExit():
                pass
            case NanoclawError() as error:
                said, got = f"{said}{error}\n{error.hint}\n", error.exit_code
            case bug:
                raise bug
        assert got == code, (arguments, got, said)
        return said

    def at_terminal(self, *arguments: str, columns: int = 120) -> AbstractContextManager[AtTerminal]:
        """Run it as a person does."""
        return at_terminal((sys.executable, "-m", "nanoclaw", *self._arguments(arguments)), self.environment, columns)

    def accounts(self) -> list[tuple[str, str, str]]:
        """Who is signed in: provider, whose, how."""
        return [(each.provider, each.where, each.method) for each in describe(self.world.home).accounts]

    def _arguments(self, arguments: tuple[str, ...]) -> list[str]:
        return ["--home", os.fspath(self.world.home.root), "auth", *arguments]


@pytest.fixture
def world() -> Generator[World]:
    with make_world(say(echo), say(echo), engine="bubblewrap") as made:
        made.secrets(CHATGPT_ISSUER_URL=made.openai.issuer_url)
        made.register("main", provider="codex")
        made.openai.sign_in.pending_polls = 0
        yield made


@pytest.fixture
def auth(world: World, tmp_path: Path) -> Auth:
    return Auth(world, tmp_path)


def login_file(world: World) -> Path:
    return world.home.credentials / "codex" / "auth.json"


def left_over(world: World) -> list[Path]:
    """Directories of sign-ins that should be gone."""
    return list(world.home.credentials.glob("sign-in-*"))


def sign_in(world: World) -> bytes:
    """Make a login the host's, as a command did before. Answers the file's content."""
    adopt_login(world.home, json.dumps(synthetic_auth_json()).encode())
    return login_file(world).read_bytes()


def write_login(path: Path, **facts: Any) -> dict[str, Any]:  # noqa: ANN401
    login = synthetic_auth_json(**facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(login), encoding="utf-8")
    return login


@pytest.mark.anyio
async def test_a_code_signs_in_and_a_group_answers_with_it(auth: Auth, world: World) -> None:
    world.openai.sign_in.pending_polls = 2
    assert auth.accounts() == []
    with auth.at_terminal("login", "codex", "--device") as terminal:
        terminal.read_until("ABCD-1234")
        assert f"{world.openai.issuer_url}/codex/device" in terminal.text
        assert "▀▀▀▀▀" in terminal.text
        terminal.read_until(r"1\d:\d\d left")
        terminal.read_until(r"ChatGPT login of person@example.test \(Plus\)")
        assert terminal.end() == 0
    assert "Used by: main." in terminal.text
    assert login_file(world).stat().st_mode & 0o777 == 0o600
    assert left_over(world) == []
    async with world.hosting() as client:
        assert [reply["text"] for reply in await world.ask(client, "main", "hello")] == ["You said: hello"]
    asked = next(request for request in world.openai.requests if request.path.endswith("/responses"))
    assert asked.headers["chatgpt-account-id"]
    assert asked.headers["authorization"].count(".") == 2  # an access token, no key


def test_a_code_is_shown_without_a_terminal_too(auth: Auth, world: World) -> None:
    said = auth("login", "codex", "--device")
    assert "ABCD-1234" in said
    assert "Waiting for you, until" in said
    assert "▀" not in said
    assert "\x1b" not in said
    assert auth.accounts() == [("codex", "host", "chatgpt")]


def test_a_group_can_have_a_login_of_its_own(auth: Auth, world: World) -> None:
    world.register("family", provider="codex")
    assert "Signed in for family only" in auth("login", "codex", "--device", "--group", "family")
    found = json.loads(auth("status", "--json"))
    assert [(account["where"], account["groups"]) for account in found["accounts"]] == [("family", ["family"])]
    assert [group["method"] for group in found["groups"]] == [None, "chatgpt"]


def test_a_group_that_is_not_there_is_told_with_the_nearest_name(auth: Auth, world: World) -> None:
    world.register("family", provider="codex")
    said = auth("login", "codex", "--device", "--group", "famly", code=2)
    assert "there is no group 'famly'" in said
    assert "did you mean family?" in said


def test_a_code_whose_time_is_over_changes_nothing(auth: Auth, world: World) -> None:
    before = sign_in(world)
    world.openai.sign_in.code_is_over = True
    said = auth("login", "codex", "--device", code=7)
    assert "the code was refused, or its time is over" in said
    assert "begin again" in said
    assert login_file(world).read_bytes() == before
    assert left_over(world) == []


def test_a_sign_in_service_that_is_away_is_named_as_the_cause(auth: Auth, world: World) -> None:
    world.secrets(CHATGPT_ISSUER_URL="http://127.0.0.1:1")
    assert "the sign-in service cannot be reached" in auth("login", "codex", "--device", code=7)
    assert auth.accounts() == []


def test_ctrl_c_ends_a_sign_in_and_leaves_nothing_behind(auth: Auth, world: World) -> None:
    before = sign_in(world)
    world.openai.sign_in.pending_polls = 1000
    with auth.at_terminal("login", "codex", "--device") as terminal:
        terminal.read_until("left. Ctrl-C ends it")
        terminal.type("\x03")
        assert terminal.end() == 7
    assert "the sign-in was stopped; nothing has changed" in terminal.text
    assert login_file(world).read_bytes() == before
    assert left_over(world) == []
    assert not any(str(world.home.credentials) in environment for environment in _environments())


def _environments() -> Generator[str]:
    """Of every process that can be looked at: a codex that was left behind has its CODEX_HOME there."""
    for place in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            yield place.read_text(encoding="utf-8", errors="replace")


def test_an_own_sign_in_service_needs_the_code(auth: Auth) -> None:
    assert "add --device" in auth("login", "codex", code=2)


@pytest.fixture
def openai(world: World, tmp_path: Path) -> Generator[Mapping[str, str]]:
    """An environment in which auth.openai.com is the scripted service."""
    _drop_issuer(world)
    with tls_far_end({"auth.openai.com": world.openai.origin}, tmp_path) as environment:
        yield environment


def _drop_issuer(world: World) -> None:
    lines = world.home.env.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("CHATGPT_ISSUER_URL")]
    world.home.env.write_text("".join(kept), encoding="utf-8")


def _callback(terminal: AtTerminal, **answer: str) -> httpx.Response:
    """What a browser does once the person has confirmed, or refused."""
    address = terminal.read_until(r"https://auth\.openai\.com/oauth/authorize\?\S+")[0]
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    return httpx.get(
        asked["redirect_uri"], params={"state": asked["state"], **answer}, trust_env=False, follow_redirects=True
    )


def test_a_browser_on_this_machine_signs_in(world: World, openai: Mapping[str, str], tmp_path: Path) -> None:
    """One test for all, as codex listens on one port and ends whoever else does."""
    auth = Auth(world, tmp_path, **openai)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        auth.environment.pop(name, None)
    with auth.at_terminal("login", "codex") as terminal:
        terminal.read_until("no screen")
        terminal.read_until("nanoclaw auth login codex --device")
        terminal.read_until("Ctrl-C ends it")
        terminal.type("\x03")
        assert terminal.end() == 7
    auth.environment["BROWSER"] = "true"
    with auth.at_terminal("login", "codex", columns=1000) as terminal:
        _callback(terminal, error="access_denied", error_description="no")
        assert terminal.end() == 7
    assert "codex did not sign in: Sign-in failed: no" in terminal.text
    assert "no screen" not in terminal.text
    assert auth.accounts() == []
    with auth.at_terminal("login", "codex", columns=1000) as terminal:
        _callback(terminal, code="code-1")
        terminal.read_until("ChatGPT login of person@example.test")
        assert terminal.end() == 0
    assert auth.accounts() == [("codex", "host", "chatgpt")]


def test_a_key_is_read_from_standard_input_and_other_lines_stay(auth: Auth, world: World) -> None:
    world.home.env.write_text("# mine\nOTHER=1\nOPENAI_API_KEY=old-key-0123456789\n# end\n", encoding="utf-8")
    said = auth("login", "codex", "--api-key", stdin=f"{_KEY}\n")
    assert _KEY not in said
    assert "Used by: main." in said
    assert world.home.env.read_text(encoding="utf-8") == f"# mine\nOTHER=1\nOPENAI_API_KEY={_KEY}\n# end\n"
    assert world.home.env.stat().st_mode & 0o777 == 0o600
    assert _KEY not in auth("status") + auth("status", "--json")


def test_a_key_is_typed_without_being_seen(auth: Auth, world: World) -> None:
    with auth.at_terminal("login", "claude", "--api-key") as terminal:
        terminal.read_until(r"Anthropic API key \(not shown\): ")
        command = Path(f"/proc/{terminal.process.pid}/cmdline").read_text(encoding="utf-8")
        terminal.type("sk-ant-api03-0123456789\r")
        assert terminal.end() == 0
    assert "0123456789" not in terminal.shown
    assert "0123456789" not in command
    assert "ANTHROPIC_API_KEY=sk-ant-api03-0123456789\n" in world.home.env.read_text(encoding="utf-8")
    assert [path for path in world.home.logs.rglob("*") if path.is_file()] == []


def test_a_group_can_have_a_key_of_its_own(auth: Auth, world: World) -> None:
    auth("login", "codex", "--api-key", "--group", "main", stdin=_KEY)
    assert auth.accounts() == [("codex", "main", "api_key")]
    assert "OPENAI_API_KEY" not in world.home.env.read_text(encoding="utf-8")


@pytest.mark.parametrize("entered", ["", "two words", "sk-ant-oat01-0123456789abcdef0123456789"])
def test_what_can_be_no_key_is_refused_and_not_repeated(auth: Auth, world: World, entered: str) -> None:
    before = world.home.env.read_bytes()
    said = auth("login", "codex", "--api-key", code=7, stdin=f"{entered}\n")
    assert not entered or entered not in said
    assert world.home.env.read_bytes() == before


def test_nothing_entered_changes_nothing(auth: Auth, world: World) -> None:
    before = world.home.env.read_bytes()
    with auth.at_terminal("login", "codex", "--api-key") as terminal:
        terminal.read_until("not shown")
        terminal.type("\x03")
        assert terminal.end() == 7
    assert "nothing has changed" in terminal.text
    assert world.home.env.read_bytes() == before


def test_a_login_made_elsewhere_is_taken_over_when_the_person_agrees(auth: Auth, world: World, tmp_path: Path) -> None:
    source = tmp_path / ".codex" / "auth.json"
    login = write_login(source)
    with auth.at_terminal("login", "codex", "--import") as terminal:
        terminal.read_until("must not go on using it")
        terminal.read_until("Take it over?")
        terminal.type("y\r")
        assert terminal.end() == 0
    assert "not with `codex logout`" in terminal.text
    assert json.loads(login_file(world).read_bytes())["tokens"]["refresh_token"] == login["tokens"]["refresh_token"]
    assert source.exists()


def test_a_login_is_not_taken_over_without_a_word(auth: Auth, world: World, tmp_path: Path) -> None:
    source = tmp_path / "auth.json"
    write_login(source)
    assert "add --yes" in auth("login", "codex", "--import", str(source), code=2)
    with auth.at_terminal("login", "codex", "--import", str(source)) as terminal:
        terminal.read_until("Take it over?")
        terminal.type("n\r")
        assert terminal.end() == 1
    assert auth.accounts() == []
    auth("login", "codex", "--import", str(source), "--yes")
    assert auth.accounts() == [("codex", "host", "chatgpt")]


def test_what_is_no_login_is_not_taken_over(auth: Auth, tmp_path: Path) -> None:
    source = tmp_path / "auth.json"
    assert "cannot be read" in auth("login", "codex", "--import", str(source), "--yes", code=7)
    source.write_text(json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": _KEY}), encoding="utf-8")
    said = auth("login", "codex", "--import", str(source), "--yes", code=7)
    assert "--api-key" in said
    assert _KEY not in said
    write_login(source, refresh_token="")
    assert "no refresh token" in auth("login", "codex", "--import", str(source), "--yes", code=7)
    assert auth.accounts() == []


def test_options_that_exclude_each_other_are_refused(auth: Auth) -> None:
    assert "exclude each other" in auth("login", "codex", "--device", "--import", code=2)
    assert "--import" in auth("login", "codex", "auth.json", code=2)


def test_signing_out_removes_the_login_and_revokes_it(auth: Auth, world: World) -> None:
    token = json.loads(sign_in(world))["tokens"]["refresh_token"]
    save_key(world.home, "OPENAI_API_KEY", _KEY)
    assert "add --yes" in auth("logout", "codex", code=2)
    with auth.at_terminal("logout", "codex") as terminal:
        terminal.read_until(r"Sign out\?")
        terminal.type("y\r")
        assert terminal.end() == 0
    assert "ChatGPT login of person@example.test" in terminal.text
    assert "OPENAI_API_KEY in" in terminal.text
    assert "OpenAI has revoked it" in terminal.text
    assert auth.accounts() == []
    (revoked,) = [request for request in world.openai.requests if request.path == "/oauth/revoke"]
    assert revoked.body is not None
    assert revoked.body["token"] == token
    assert "Nobody is signed in" in auth("logout", "codex")


def test_a_login_that_could_not_be_revoked_is_removed_and_the_rest_is_told(auth: Auth, world: World) -> None:
    sign_in(world)
    world.secrets(CHATGPT_ISSUER_URL="http://127.0.0.1:1")
    said = auth("logout", "codex", "--yes")
    assert "could not be told (it cannot be reached)" in said
    assert "security settings of ChatGPT" in said
    assert not login_file(world).exists()


def test_a_key_in_the_environment_is_named_as_what_stays(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", _KEY)
    said = auth("logout", "codex", "--yes")
    assert "Still there: API key, from the environment" in said
    assert _KEY not in said


def test_codex_itself_revokes_with_the_same_request(auth: Auth, world: World, tmp_path: Path) -> None:
    codex = find_program("codex")
    assert codex is not None
    login = write_login(tmp_path / "codex" / "auth.json")
    environment = {
        "CODEX_HOME": str(tmp_path / "codex"),
        "CODEX_REVOKE_TOKEN_URL_OVERRIDE": f"{world.openai.origin}/oauth/revoke",
    }
    subprocess.run((str(codex), "logout"), env=environment, check=True, timeout=60, capture_output=True)
    adopt_login(world.home, json.dumps(login).encode())
    auth("logout", "codex", "--yes")
    theirs, ours = [request.body for request in world.openai.requests if request.path == "/oauth/revoke"]
    assert ours == theirs


@pytest.fixture
def anthropic(world: World, tmp_path: Path) -> Generator[Mapping[str, str]]:
    """An environment in which the places where Claude signs in are the scripted Anthropic."""
    hosts = ("platform.claude.com", "api.anthropic.com", "claude.ai", "claude.com")
    with tls_far_end(dict.fromkeys(hosts, world.anthropic.origin), tmp_path) as environment:
        yield environment


def test_claude_setup_token_is_led_through_and_its_token_stored(
    world: World, anthropic: Mapping[str, str], tmp_path: Path
) -> None:
    auth = Auth(world, tmp_path, **anthropic)
    with auth.at_terminal("login", "claude") as terminal:
        terminal.read_until(r"https://\S+/oauth/authorize\?\S+")
        terminal.read_until("Code:")
        terminal.type("half-a-code\r")
        terminal.read_until("not the whole code")
        terminal.type("code-1#state-1\r")
        assert terminal.end() == 0, terminal.text
    assert SUBSCRIPTION_TOKEN not in terminal.shown
    assert f"CLAUDE_CODE_OAUTH_TOKEN={SUBSCRIPTION_TOKEN}\n" in world.home.env.read_text(encoding="utf-8")
    assert auth.accounts() == [("claude", "host", "oauth_token")]
    assert left_over(world) == []


def test_ctrl_c_ends_claude_setup_token(world: World, anthropic: Mapping[str, str], tmp_path: Path) -> None:
    auth = Auth(world, tmp_path, **anthropic)
    with auth.at_terminal("login", "claude") as terminal:
        terminal.read_until("Code:")
        terminal.type("\x03")
        assert terminal.end() == 7
    assert "nothing has changed" in terminal.text
    assert left_over(world) == []


def test_a_network_that_is_away_is_told_in_claudes_words(world: World, tmp_path: Path) -> None:
    auth = Auth(world, tmp_path, HTTPS_PROXY="http://127.0.0.1:1")
    with auth.at_terminal("login", "claude") as terminal:
        terminal.read_until("Code:")
        terminal.type("code-1#state-1\r")
        assert terminal.end() == 7
    assert "claude did not sign in" in terminal.text


def test_a_token_made_elsewhere_is_read_from_standard_input(auth: Auth, world: World) -> None:
    world.register("main", provider="claude")
    assert "Used by: main." in auth("login", "claude", stdin=f"{SUBSCRIPTION_TOKEN}\n")
    assert auth.accounts() == [("claude", "host", "oauth_token")]


def test_the_table_says_who_uses_what_and_why_not(auth: Auth, world: World) -> None:
    world.register("main", provider="codex", providerConfig={"codex": {"authMethod": "chatgpt"}})
    world.register("work", provider="claude")
    save_key(world.home, "OPENAI_API_KEY", _KEY)
    shown = re.sub(r"\s+", " ", auth("status"))
    assert "codex all groups API key main" in shown
    assert "main asks for a ChatGPT login" in shown
    assert "auth login claude" in shown


def test_nobody_signed_in_is_an_answer(auth: Auth) -> None:
    assert "Nobody is signed in" in auth("status")
