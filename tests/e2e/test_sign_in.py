"""Signing in, with the real CLIs in real sandboxes: what the servers see on the wire, and what an agent can find."""

import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from nanoclaw.client import Client
from nanoclaw.clock import SystemClock
from nanoclaw.config import CredentialMode
from nanoclaw.credentials.accounts import describe, save_key
from nanoclaw.credentials.login import Login
from nanoclaw.credentials.store import Place
from nanoclaw.model import Folder
from nanoclaw.selftest import echo
from nanoclaw.testing.models import (
    ACCOUNT_ID,
    Conversation,
    Script,
    Step,
    fault,
    first,
    say,
    shell,
    steps,
    synthetic_auth_json,
)
from nanoclaw.testing.world import World, make_world

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

KEY = "sk-openai-0123456789"
CLAUDE_KEY = "sk-ant-api03-0123456789"
CLAUDE_TOKEN = "sk-ant-oat01-0123456789"
SOON = 200.0
"""Seconds until an access token ends: the run needs a new one."""
WISHES = {"unset": None, "chatgpt": "chatgpt", "apikey": "api_key"}
"""Groups by what they ask for."""
MODES: tuple[CredentialMode, ...] = ("mounted", "gateway")


def a_world(
    script: Script, mode: str = "mounted", engine: str = "bubblewrap", settings: str = ""
) -> AbstractContextManager[World]:
    return make_world(script, script, engine=engine, settings=f'credentials = "{mode}"\n{settings}')


def host_login(world: World) -> Login:
    login = Place(world.home).read()
    assert login is not None
    return login


async def ask_all(world: World, client: Client, folders: Sequence[str], text: str = "hello") -> dict[str, str]:
    """What each group is told, asked all at once."""
    told: dict[str, str] = {}

    async def ask(folder: str) -> None:
        said = text if folder == "main" else f"@Andy {folder} {text}"
        told[folder] = " | ".join(reply["text"] for reply in await world.ask(client, folder, said))

    async with anyio.create_task_group() as asking:
        for folder in folders:
            asking.start_soon(ask, folder)
    return told


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110  # what other processes do sets no event
            await anyio.sleep(0.02)


def seen_of(conversations: Sequence[Conversation], folder: str) -> Mapping[str, str]:
    """The headers with which a group's question came to the model."""
    return next(asked.headers for asked in conversations if f"{folder} hello" in " ".join(asked.messages))


# --- every row of the table ------------------------------------------------------------------------------------------


ROWS = [
    *itertools.product(["bubblewrap"], MODES, [False, True], [False, True]),
    *itertools.product(["podman"], MODES, [True], [True]),  # every way of signing in is among these
]


@pytest.mark.parametrize(("engine", "mode", "login", "key"), ROWS)
async def test_codex_signs_in_as_asked_and_by_what_is_there(engine: str, mode: str, login: bool, key: bool) -> None:
    with a_world(say(echo), mode, engine) as world:
        world.secrets(**({"OPENAI_API_KEY": KEY} if key else {}))
        if login:
            world.sign_in_host_to_chatgpt(synthetic_auth_json())
        for folder, wish in WISHES.items():
            world.register(folder, provider="codex", providerConfig={"codex": {"authMethod": wish} if wish else {}})
        async with world.hosting() as client:
            told = await ask_all(world, client, list(WISHES))
        for folder in WISHES:
            takes_login = login and folder != "apikey"
            if not takes_login and not key:
                assert "I cannot answer" in told[folder]
                assert "auth login codex" in told[folder]
                continue
            assert told[folder] == f"You said: @Andy {folder} hello"
            headers = seen_of(world.openai.conversations, folder)
            bearer = host_login(world).access_token if takes_login else KEY
            assert headers["authorization"] == f"Bearer {bearer}"
            assert headers.get("chatgpt-account-id") == (ACCOUNT_ID if takes_login else None)
        fallbacks = {group.folder for group in describe(world.home).groups if group.note}
        assert fallbacks == ({"chatgpt"} if key and not login else set())
        assert world.openai.sign_in.sent == []


@pytest.mark.parametrize("mode", MODES)
async def test_claude_signs_in_by_what_is_there(mode: str) -> None:
    with a_world(say(echo), mode) as world:
        for folder in ("key", "token", "both", "none"):
            world.register(folder, provider="claude")
        for folder, name, value in (
            ("key", "ANTHROPIC_API_KEY", CLAUDE_KEY),
            ("token", "CLAUDE_CODE_OAUTH_TOKEN", CLAUDE_TOKEN),
            ("both", "ANTHROPIC_API_KEY", CLAUDE_KEY),
            ("both", "CLAUDE_CODE_OAUTH_TOKEN", CLAUDE_TOKEN),
        ):
            save_key(world.home, name, value, Folder(folder))
        async with world.hosting() as client:
            told = await ask_all(world, client, ("key", "token", "both", "none"))
        assert "auth login claude" in told.pop("none")
        for folder, answer in told.items():
            assert answer == f"You said: @Andy {folder} hello"
            headers = seen_of(world.anthropic.conversations, folder)
            if folder == "token":
                assert headers["authorization"] == f"Bearer {CLAUDE_TOKEN}"
                assert "x-api-key" not in headers
                assert "oauth" in headers["anthropic-beta"]
            else:
                assert headers["x-api-key"] == CLAUDE_KEY
                assert "authorization" not in headers


async def test_a_whole_login_that_a_person_puts_into_a_group_works_at_once_and_is_in_the_hosts_keeping_then() -> None:
    with a_world(say(echo)) as world:
        world.sign_in_host_to_chatgpt(synthetic_auth_json())
        world.register("work", provider="codex")
        own = synthetic_auth_json(account_id="account-own")
        path = world.home.data / "codex" / "work" / ".codex" / "auth.json"
        async with world.hosting() as client:
            await ask_all(world, client, ["work"])
            await until(lambda: not path.exists())  # the answer comes before the sandbox is gone
            world.sign_in_to_chatgpt("work", own)
            await ask_all(world, client, ["work"])
            await until(lambda: not path.exists())
            await ask_all(world, client, ["work"])
        accounts = [asked.headers["chatgpt-account-id"] for asked in world.openai.conversations]
        assert accounts == [ACCOUNT_ID, "account-own", "account-own"]
        assert world.openai.sign_in.sent == []


# --- rotation --------------------------------------------------------------------------------------------------------

HOME_AUTH = "/home/node/.codex/auth.json"
LOOK = f"cat {HOME_AUTH}"
WHOLE = json.dumps(synthetic_auth_json(account_id="account-evil", refresh_token="rt-of-the-agent"))
TRICKS = (
    f"rm {HOME_AUTH}",
    f"echo '{WHOLE}' > {HOME_AUTH}",
    f"ln -sf /etc/passwd {HOME_AUTH}",
    f"rm {HOME_AUTH}; mkfifo {HOME_AUTH}",
    f"rm {HOME_AUTH}; mkdir -p {HOME_AUTH}/deep",
    f"rm -r /home/node/.codex/*; chmod 000 {HOME_AUTH}",
)
"""What agents do to the login that they were given."""


def tampering(conversation: Conversation) -> Any:  # noqa: ANN401
    """Every agent looks at its login; some make something of it then."""
    folder = next((word for word in " ".join(conversation.messages).split() if word.startswith("g")), "g0")
    trick = TRICKS[int(folder[1:]) % len(TRICKS)] if "evil" in " ".join(conversation.messages) else "true"
    script: Any = steps(shell(f"{LOOK}; {trick}"), say(lambda seen: seen.tool_outputs[-1]))
    return script(conversation)


@pytest.mark.timeout(180)
async def test_twenty_groups_at_once_cost_one_renewal_whatever_their_agents_do() -> None:
    groups = [f"g{number}" for number in range(20)]
    evil, last = groups[: len(TRICKS)], groups[: len(TRICKS)]
    with a_world(tampering, settings="[runs]\nmax_concurrent = 4\n") as world:
        for folder in groups:
            world.register(folder, provider="codex")
        world.sign_in_host_to_chatgpt(synthetic_auth_json(expires_in=SOON))
        spent = host_login(world)
        async with world.hosting() as client:
            told = await ask_all(world, client, groups)
            renewed = host_login(world)
            await ask_all(world, client, evil, "evil")
            again = await ask_all(world, client, last)
        sign_in = world.openai.sign_in
        assert sign_in.sent == [spent.refresh_token]
        assert sign_in.reused == []
        assert host_login(world) == renewed != spent
        for shown in (*told.values(), *again.values()):
            given = json.loads(shown)
            assert given["tokens"]["access_token"] == renewed.access_token
            assert given["tokens"]["refresh_token"] == ""
        bearers = {asked.headers["authorization"] for asked in world.openai.conversations}
        assert bearers == {f"Bearer {renewed.access_token}"}
        signed = describe(world.home)
        assert [refused.folder for refused in signed.refused] == ["g1"]
        assert {group.where for group in signed.groups if group.provider == "codex"} == {"host"}
        assert list(world.home.data.rglob("auth.json")) == []


@contextmanager
def a_host(world: World) -> Generator[subprocess.Popen[bytes]]:
    """A host in a process of its own."""
    world.home.control_socket.unlink(missing_ok=True)  # of one that was killed
    command = [sys.executable, "-m", "nanoclaw", "--home", os.fspath(world.home.root), "run"]
    with (world.home.root / "host.out").open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.parametrize("when", ["asked", "answering"])
async def test_a_host_that_is_killed_while_it_renews_says_that_the_answer_was_lost(when: str) -> None:
    with a_world(say(echo)) as world:
        world.register("work", provider="codex")
        world.sign_in_host_to_chatgpt(synthetic_auth_json(expires_in=SOON))
        old = host_login(world)
        with a_host(world) as host:

            def watch(step: str) -> None:
                if step == when:
                    host.kill()

            world.openai.sign_in.watch = watch
            await until(world.home.control_socket.exists)
            async with Client(world.home) as client:
                await client.post("/v1/messages", {"chat": "local:work", "sender": "Bob", "text": "@Andy one"})
            assert await anyio.to_thread.run_sync(host.wait, 60) == -signal.SIGKILL
        world.openai.sign_in.watch = None
        with a_host(world):
            await until(world.home.control_socket.exists)
            async with Client(world.home) as client:  # while it lives, the old token is used
                assert "hello" in (await ask_all(world, client, ["work"]))["work"]
        (account,) = [account for account in describe(world.home).accounts if account.method == "chatgpt"]
        assert "was lost" in account.problem
        assert "auth login codex" in account.hint
        assert world.openai.sign_in.sent == [old.refresh_token]
        assert "login.ending" in (world.home.logs / "nanoclaw.log").read_text()


async def test_a_login_that_has_ended_is_asked_for_in_the_chat_and_a_new_one_works_at_once() -> None:
    with a_world(say(echo)) as world:
        world.register("work", provider="codex")
        world.sign_in_host_to_chatgpt(synthetic_auth_json(expires_in=-5))
        world.openai.sign_in.refuse_with = "refresh_token_expired"
        async with world.hosting() as client:
            told = await ask_all(world, client, ["work"])
            assert "auth login codex" in told["work"]
            world.sign_in_host_to_chatgpt(synthetic_auth_json())
            told = await ask_all(world, client, ["work"], "again")
            assert told["work"].startswith("You said:")


async def test_a_token_that_the_provider_refuses_early_is_renewed_and_the_message_answered() -> None:
    auth = synthetic_auth_json()
    auth["last_refresh"] = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    refused = f"Bearer {auth['tokens']['access_token']}"

    def script(asked: Conversation) -> Step:
        return fault("auth") if asked.headers["authorization"] == refused else say(echo)

    with a_world(script, settings="[runs]\nretry_base_seconds = 0.1\n") as world:
        world.register("work", provider="codex")
        world.sign_in_host_to_chatgpt(auth)
        async with world.hosting() as client:
            told = await ask_all(world, client, ["work"])
        assert told["work"] == "You said: @Andy work hello"
        assert world.openai.sign_in.sent == [auth["tokens"]["refresh_token"]]


# --- what an agent can find ------------------------------------------------------------------------------------------

HUNTER = Path(__file__).with_name("hunter.py")
"""What a curious agent does: environments, every process that it sees, every file that it can read, the relay."""


def hunting(planted: Mapping[str, str]) -> Script:
    """Have the agent look for secrets, of which it knows only begin, length and digest: not to find its own list."""
    wanted = [
        {"name": name, "begin": value[:6], "length": len(value), "digest": hashlib.sha256(value.encode()).hexdigest()}
        for name, value in planted.items()
    ]
    command = f"python3 - '{json.dumps(wanted)}' <<'HUNTER'\n{HUNTER.read_text()}\nHUNTER\n"
    return steps(shell(command), say(lambda seen: seen.tool_outputs[-1]))


def plant(world: World) -> dict[str, str]:
    """Sign in everywhere that one can. Answers every secret by its name."""
    world.sign_in_host_to_chatgpt(synthetic_auth_json())
    world.register("codex", provider="codex")
    world.register("claude", provider="claude")
    world.register("other", provider="codex")
    other = synthetic_auth_json(account_id="account-other")
    world.sign_in_to_chatgpt("other", other)
    world.secrets(OPENAI_API_KEY=KEY, CLAUDE_CODE_OAUTH_TOKEN=CLAUDE_TOKEN)
    save_key(world.home, "ANTHROPIC_API_KEY", CLAUDE_KEY, Folder("other"))
    login = host_login(world)
    return {
        "refresh token": login.refresh_token,
        "access token": login.access_token,
        "id token": login.id_token,
        **{f"{name} of the other group": other["tokens"][name] for name in ("refresh_token", "access_token")},
        "OpenAI key": KEY,
        "Claude token": CLAUDE_TOKEN,
        "Claude key of the other group": CLAUDE_KEY,
        "variable of the host": os.environ["NANOCLAW_TEST_PLANTED"],
        "variable of the agent": "hunted-by-the-agent-itself",
    }


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("engine", "mode"), [("bubblewrap", "mounted"), ("bubblewrap", "gateway"), ("podman", "gateway")]
)
async def test_an_agent_that_looks_everywhere_finds_nothing_but_what_its_mode_gives_it(
    engine: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOCLAW_TEST_PLANTED", "planted-0123456789abcdef")
    with a_world(say(echo), mode, engine) as world:
        planted = plant(world)
        world.openai.script = world.anthropic.script = hunting(planted)
        async with world.hosting() as client:
            told = await ask_all(world, client, ["codex", "claude"])
    found = {folder: set(filter(None, answer.strip().splitlines())) for folder, answer in told.items()}
    for folder in found:
        assert "looked everywhere" in found[folder]
        found[folder] -= {"looked everywhere"}
        # What it looks for with a value of its own shows that looking works.
        assert "variable of the agent: environment" in found[folder]
        found[folder] = {line for line in found[folder] if not line.startswith("variable of the agent")}
    if mode == "gateway":
        assert found == {"codex": set(), "claude": set()}
        return
    names = {folder: {line.partition(":")[0] for line in lines} for folder, lines in found.items()}
    assert names["codex"] == {"access token", "id token"}
    assert names["claude"] <= {"Claude token"}
    assert {line.partition(": ")[2] for line in found["claude"]} <= {"memory of claude"}
    assert "access token: file /home/node/.codex/auth.json" in found["codex"]


OF_THE_CLIS = {
    *("AI_AGENT", "CLAUDECODE", "CLAUDE_CODE_CHILD_NOTES_DIR", "CLAUDE_CODE_CHILD_SESSION", "CLAUDE_CODE_EXECPATH"),
    *("CLAUDE_CODE_MESSAGING_SOCKET", "CLAUDE_CODE_MESSAGING_TOKEN", "CLAUDE_CODE_SESSION_ATTENDED"),
    *("CLAUDE_CODE_SESSION_ID", "CLAUDE_EFFORT", "CLAUDE_PID"),
    *("CODEX_APPLY_PATCH_PRESERVE_LINE_ENDINGS", "CODEX_CI", "CODEX_SESSION_ID", "CODEX_THREAD_ID"),
    *("CODEX_TOOL_CALL_ID", "CODEX_VERSION"),
}
"""What they tell their own children, of their own making: where they are, and how to speak to them."""


@pytest.mark.parametrize("mode", MODES)
async def test_the_agents_shell_has_neither_what_its_cli_needs_nor_anything_of_the_host(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOCLAW_TEST_PLANTED", "planted-0123456789abcdef")
    script = steps(shell("env -0 | cut -z -d= -f1 | tr '\\0' '\\n'"), say(lambda seen: seen.tool_outputs[-1]))
    with a_world(script, mode) as world:
        plant(world)
        world.register("key", provider="claude")
        save_key(world.home, "ANTHROPIC_API_KEY", CLAUDE_KEY, Folder("key"))
        async with world.hosting() as client:
            told = await ask_all(world, client, ["codex", "claude", "key"])
    for folder, answer in told.items():
        names = set(answer.split())
        assert {"PATH", "HOME", "HTTPS_PROXY"} <= names
        foreign = {
            name for name in names if re.search("CLAUDE|ANTHROPIC|OPENAI|CODEX|TOKEN|KEY|PLANTED|PYTHON|API", name)
        }
        assert foreign - OF_THE_CLIS == set(), folder


# --- limits ----------------------------------------------------------------------------------------------------------


class Shifted(SystemClock):
    """A clock that says `at` now, and goes on from there."""

    def __init__(self, at: datetime) -> None:
        self._ahead = at - datetime.now(UTC)

    def now(self) -> datetime:
        return super().now() + self._ahead


@pytest.mark.parametrize("provider", ["codex", "claude"])
async def test_a_limit_is_told_with_its_end_and_the_message_answered_then_by_itself(provider: str) -> None:
    end = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(hours=1)
    script = first(1, fault("usage_limit", resets_at=end), say(echo))
    goes_on = end + timedelta(minutes=1 if provider == "codex" else 0)  # Codex leaves the seconds away
    with a_world(script, settings='timezone = "UTC"\n') as world:
        world.sign_in_host_to_chatgpt(synthetic_auth_json())
        world.secrets(CLAUDE_CODE_OAUTH_TOKEN=CLAUDE_TOKEN)
        world.register("main", provider=provider)
        async with world.hosting(Shifted(goes_on - timedelta(seconds=12))) as client:  # a busy machine needs them
            stored = await client.post("/v1/messages", {"chat": "local:main", "sender": "Bob", "text": "hello"})
            replies: list[dict[str, Any]] = []
            with anyio.fail_after(60):
                while len(replies) < 2:
                    answer = await client.get("/v1/answers", 60, chat="local:main", seq=int(stored["seq"]), wait=5)
                    replies = answer["replies"]
    notice, answered = replies
    assert notice["kind"] == "notice"
    assert f"It goes on at {goes_on:%a %d %b, %H:%M} (" in notice["text"], notice
    assert answered["text"] == "You said: hello"
