"""`nanoclaw selftest`: the main job on real input. Real CLIs in a real sandbox; only the models are scripted.

Nobody needs an account for it, nothing is charged, and the user's own home is not touched.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from nanoclaw.credentials.accounts import log_out
from nanoclaw.errors import NanoclawError, leaves
from nanoclaw.model import Folder
from nanoclaw.testing.models import ACCOUNT_ID, Conversation, say, shell, steps, synthetic_auth_json
from nanoclaw.testing.world import World, make_world

_KEY: Final = "sk-selftest-0123456789"


class SelftestFailure(NanoclawError):
    """What came was not what had to come."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """How one scenario went."""

    name: str
    passed: bool
    seconds: float
    why: str


def echo(conversation: Conversation) -> str:
    """A model that says what it was asked."""
    return f"You said: {' / '.join(conversation.messages)}"


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise SelftestFailure(what)


async def claude_answers(world: World) -> None:
    """Claude answers in `main`, and in a group that names no provider."""
    world.secrets(ANTHROPIC_API_KEY=_KEY)
    world.register("family")
    async with world.hosting() as client:
        for folder, text in (("main", "ping one"), ("family", "@Andy ping two")):
            replies = await world.ask(client, folder, text)
            _expect([reply["text"] for reply in replies] == [f"You said: {text}"], f"{folder} was answered {replies}")
    keys = {request.headers.get("x-api-key") for request in world.anthropic.requests if request.method == "POST"}
    _expect(keys == {_KEY}, "the model server did not see the key")


async def codex_answers(world: World) -> None:
    """A group set to Codex answers `@Andy …`."""
    world.secrets(OPENAI_API_KEY=_KEY)
    world.register("work", provider="codex")
    async with world.hosting() as client:
        replies = await world.ask(client, "work", "@Andy ping three")
    _expect([reply["text"] for reply in replies] == ["You said: @Andy ping three"], f"work was answered {replies}")


async def codex_answers_with_chatgpt(world: World) -> None:
    """Codex runs on a ChatGPT `auth.json` and no API key."""
    auth = synthetic_auth_json()
    world.register("work", provider="codex")
    world.sign_in_to_chatgpt("work", auth)
    async with world.hosting() as client:
        replies = await world.ask(client, "work", "@Andy ping four")
    _expect([reply["text"] for reply in replies] == ["You said: @Andy ping four"], f"work was answered {replies}")
    headers = world.openai.conversations[-1].headers
    _expect(headers.get("authorization") == f"Bearer {auth['tokens']['access_token']}", "no Bearer of the login")
    _expect(headers.get("chatgpt-account-id") == ACCOUNT_ID, "no account id of the login")


async def codex_falls_back_to_the_key(world: World) -> None:
    """The login is removed and `OPENAI_API_KEY` is set: Codex answers with the key."""
    world.register("work", provider="codex")
    world.sign_in_to_chatgpt("work", synthetic_auth_json())
    async with world.hosting() as client:
        await world.ask(client, "work", "@Andy ping five")
        log_out(world.home, "codex", Folder("work"))
        world.secrets(OPENAI_API_KEY=_KEY)
        replies = await world.ask(client, "work", "@Andy ping six")
    _expect([reply["text"] for reply in replies] == ["You said: @Andy ping six"], f"work was answered {replies}")
    headers = world.openai.conversations[-1].headers
    _expect(headers.get("authorization") == f"Bearer {_KEY}", "the model server did not see the key")
    _expect("chatgpt-account-id" not in headers, "the account id of the removed login was sent")


async def an_agents_file_is_sent(world: World) -> None:
    """The agent's own shell writes a file into its mailbox, and the host sends it."""
    world.secrets(OPENAI_API_KEY=_KEY, ANTHROPIC_API_KEY=_KEY)
    world.register("work", provider="codex")
    write = (
        """cd /workspace/ipc/messages && echo '{"type":"message","text":"from the shell"}' > .x && mv .x note.json"""
        " && for i in $(seq 100); do [ -e ../results/note.json ] && break; sleep 0.05; done; cat ../results/note.json"
    )
    script = steps(shell(write), say(lambda conversation: f"The host said {conversation.tool_outputs[-1].strip()}"))
    world.openai.script = world.anthropic.script = script
    async with world.hosting() as client:
        for folder, text in (("work", "@Andy tell us"), ("main", "tell us")):
            replies = await world.ask(client, folder, text)
            shown = [(reply["kind"], reply["text"]) for reply in replies]
            _expect(shown[:1] == [("message", "from the shell")], f"{folder} was sent {shown}")
            _expect(
                len(shown) == 2 and '"ok": true' in shown[1][1].replace('":true', '": true'), f"{folder} got {shown}"
            )


Scenario = Callable[[World], Awaitable[None]]

SCENARIOS: Final[tuple[Scenario, ...]] = (
    claude_answers,
    codex_answers,
    codex_answers_with_chatgpt,
    codex_falls_back_to_the_key,
    an_agents_file_is_sent,
)


async def run_scenario(scenario: Scenario, engine: str) -> Result:
    """Run one scenario in a home of its own."""
    name = (scenario.__doc__ or "").strip()
    started = time.monotonic()
    why = ""
    try:
        with make_world(say(echo), say(echo), engine=engine) as world:
            await scenario(world)
    except* (NanoclawError, TimeoutError) as group:
        why = "; ".join(str(error) or type(error).__name__ for error in leaves(group))
    return Result(name=name, passed=not why, seconds=time.monotonic() - started, why=why)
