"""Whatever goes wrong reaches the chat as one clear sentence, in bounded time, and nothing is lost."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nanoclaw.selftest import echo
from nanoclaw.testing.models import FaultKind, fault, first, say, shell, steps
from nanoclaw.testing.world import World, make_world

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

_KEY = "sk-very-secret-0123456789"
_SETTINGS = "[runs]\nretry_base_seconds = 0.1\nmax_attempts = 2\n"
_PROVIDERS = ("codex", "claude")


def a_world(script: Any, settings: str = _SETTINGS) -> Any:  # noqa: ANN401
    return make_world(script, script, engine="bubblewrap", settings=settings)


async def ask(world: World, provider: str, text: str = "hello") -> list[dict[str, Any]]:
    world.secrets(OPENAI_API_KEY=_KEY, ANTHROPIC_API_KEY=_KEY)
    world.register("main", provider=provider)
    async with world.hosting() as client:
        return await world.ask(client, "main", text)


def only_notice(replies: list[dict[str, Any]]) -> str:
    assert [reply["kind"] for reply in replies] == ["notice"], replies
    text = replies[0]["text"]
    assert "\n" not in text
    assert _KEY not in text
    return text


@pytest.mark.parametrize("provider", _PROVIDERS)
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("auth", "refused the sign-in"),
        ("billing", "no credit"),
        ("model_not_found", "does not know the model"),
        ("context_too_long", "too long"),
        ("server_error", "overloaded or has a fault"),
        ("empty", "without an answer"),
    ],
)
async def test_a_fault_of_the_model_is_told(provider: str, kind: FaultKind, says: str) -> None:
    with a_world(fault(kind)) as world:
        assert says in only_notice(await ask(world, provider))


@pytest.mark.parametrize("provider", _PROVIDERS)
async def test_what_passes_is_tried_again_and_answered(provider: str) -> None:
    # more refusals than the CLI itself tries again in one attempt
    with a_world(first(4, fault("overloaded"), say(echo)), "[runs]\nretry_base_seconds = 0.1\n") as world:
        replies = await ask(world, provider)
    assert [reply["text"] for reply in replies] == ["You said: hello"]


@pytest.mark.parametrize("provider", _PROVIDERS)
async def test_a_usage_limit_is_told_with_its_end(provider: str) -> None:
    end = datetime.now(UTC) + timedelta(hours=2)
    with a_world(fault("usage_limit", resets_at=end)) as world:
        world.secrets(OPENAI_API_KEY=_KEY, ANTHROPIC_API_KEY=_KEY)
        world.register("main", provider=provider)
        async with world.hosting() as client:
            stored = await client.post("/v1/messages", {"chat": "local:main", "sender": "Bob", "text": "hello"})
            replies: list[dict[str, Any]] = []
            while not replies:
                answer = await client.get("/v1/answers", 60, chat="local:main", seq=stored["seq"], wait=5)
                replies = answer["replies"]
    assert "limit" in only_notice(replies)


@pytest.mark.parametrize("provider", _PROVIDERS)
@pytest.mark.parametrize("kind", ["no_headers", "silent"])
async def test_a_model_that_hangs_is_given_up_at_the_deadline(provider: str, kind: FaultKind) -> None:
    with a_world(fault(kind)) as world:
        world.register("main", containerConfig={"timeout": 4000})
        assert "ran out of time" in only_notice(await ask(world, provider))


@pytest.mark.parametrize("provider", _PROVIDERS)
async def test_nobody_signed_in_is_told_with_the_command(provider: str) -> None:
    with a_world(say(echo)) as world:
        world.register("main", provider=provider)
        async with world.hosting() as client:
            text = only_notice(await world.ask(client, "main", "hello"))
        assert "nobody is signed in" in text
        assert f"{world.home.root}/.env" in text
        assert not world.openai.conversations
        assert not world.anthropic.conversations


@pytest.mark.parametrize("provider", _PROVIDERS)
async def test_an_agent_that_prints_megabytes_is_answered_all_the_same(provider: str) -> None:
    with a_world(steps(shell("head -c 20000000 /dev/zero | tr '\\0' x"), say("printed"))) as world:
        assert [reply["text"] for reply in await ask(world, provider)] == ["printed"]


async def test_a_missing_image_is_told_with_the_command() -> None:
    settings = "[runs]\nmax_attempts = 1\n"
    with make_world(say(echo), say(echo), engine="podman", settings=settings) as world:
        text = world.home.settings.read_text(encoding="utf-8") + 'image = "localhost/no-such-image:1"\n'
        world.home.settings.write_text(text, encoding="utf-8")
        assert "nanoclaw image build" in only_notice(await ask(world, "codex"))


async def test_a_broken_env_file_is_told_without_its_content() -> None:
    with a_world(say(echo)) as world:
        world.home.env.write_text(f"{_KEY}\n", encoding="utf-8")
        async with world.hosting() as client:
            text = only_notice(await world.ask(client, "main", "hello"))
            assert f"{world.home.env} line 1 is not NAME=value" in text
            world.secrets(ANTHROPIC_API_KEY=_KEY)
            assert [reply["text"] for reply in await world.ask(client, "main", "again")] == ["You said: hello / again"]


async def test_a_message_that_failed_is_answered_with_the_next_one() -> None:
    with a_world(first(1, fault("billing"), say(echo))) as world:
        world.secrets(OPENAI_API_KEY=_KEY)
        world.register("main", provider="codex")
        async with world.hosting() as client:
            only_notice(await world.ask(client, "main", "one"))
            replies = await world.ask(client, "main", "two")
    assert [reply["text"] for reply in replies] == ["You said: one / two"]


@pytest.mark.parametrize("provider", _PROVIDERS)
async def test_the_key_is_nowhere_that_an_agent_or_a_log_could_show_it(provider: str) -> None:
    look: Callable[[Any], str] = lambda conversation: conversation.tool_outputs[-1]  # noqa: E731
    hunt = (
        "env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n';"
        " grep -rs sk-very /home /workspace /run /tmp"
    )
    with a_world(steps(shell(hunt), say(look))) as world:
        (reply,) = await ask(world, provider)
        assert "PATH=" in reply["text"]
        assert _KEY not in reply["text"]
        logs = "".join(path.read_text(encoding="utf-8") for path in world.home.logs.rglob("*.jsonl"))
        assert "prompt" in logs
        assert _KEY not in logs
