"""The proof that all of it works: a message, and its answer."""

from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import anyio

from nanoclaw.client import Client
from nanoclaw.clock import SystemClock
from nanoclaw.config import Home
from nanoclaw.errors import HostError
from nanoclaw.formatting import printable
from nanoclaw.model import RegisteredGroup, Run, RunId
from nanoclaw.setup.hosting import a_host, connected
from nanoclaw.setup.step import Setup
from nanoclaw.setup.talk import Finding
from nanoclaw.store import runs
from nanoclaw.store.database import connect

_ANSWER_SECONDS: Final = 300.0  # the first answer of a new provider; a person who writes on the phone
_PATIENCE: Final = 60  # seconds that one question to the host takes at most
_QUESTION: Final = "Hello! Please introduce yourself in one sentence."


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back."""

    text: str
    seconds: float | None
    cost: str


class FirstAnswer:
    """One real message, answered."""

    name = "answer"
    title = "First answer"

    def look(self, setup: Setup) -> Finding:
        """There was one."""
        answered = setup.memory.recall("answered")
        return Finding(done=bool(answered), what=str(answered or "nothing was answered yet"))

    def needs(self, setup: Setup) -> Iterable[str]:
        """Nothing."""
        return ()

    def do(self, setup: Setup) -> None:
        """Send a message where that can be done here; else ask the person to, and wait."""
        main = setup.main
        assert main is not None
        by_hand = not main.jid.startswith("local:")
        if by_hand:
            setup.talk.say(f"Now write something to the assistant, in WhatsApp: {printable(main.name)}.")
        else:
            setup.talk.say(f"You: {_QUESTION}")
        title = "Waiting for your message and its answer" if by_hand else "Waiting for the answer"
        with setup.talk.progress(title):
            answer = anyio.run(_answer, setup.home, main, by_hand)
        setup.talk.say(f"{setup.settings.assistant_name}: {answer.text}")
        took = f"in {answer.seconds:.1f} s, " if answer.seconds is not None else ""
        setup.memory.remember(answered=f"came {took}{answer.cost}")


async def _answer(home: Home, main: RegisteredGroup, by_hand: bool) -> Answer:
    with anyio.move_on_after(_ANSWER_SECONDS):
        async with a_host(home) as client:
            if by_hand:
                await connected(client)
                reply = await _next_reply(client, main)
            else:
                reply = await _reply(client, main)
        if reply["kind"] == "notice":
            raise HostError(f"the assistant could not answer: {printable(reply['text'])}", "`nanoclaw doctor` looks")
        return await anyio.to_thread.run_sync(_told, home, reply)
    raise HostError(f"no answer within {_ANSWER_SECONDS / 60:.0f} minutes", "`nanoclaw doctor` looks for what is wrong")


async def _reply(client: Client, main: RegisteredGroup) -> dict[str, Any]:
    body = {"chat": main.jid, "sender": "You", "text": _QUESTION}
    seq = int((await client.post("/v1/messages", body))["seq"])
    while True:
        answer = await client.get("/v1/answers", _PATIENCE, chat=main.jid, seq=seq, wait=_PATIENCE)
        if answer["replies"]:
            return answer["replies"][-1]
        if answer["state"] == "answered":
            raise HostError("the assistant chose to say nothing", "try again")


async def _next_reply(client: Client, main: RegisteredGroup) -> dict[str, Any]:
    async with aclosing(client.stream("/v1/events", chat=main.jid)) as events:
        async for event in events:
            if event["type"] == "reply" and event["run"] is not None:
                return event
    raise HostError("the host ended before an answer came", "see `nanoclaw status`")


def _told(home: Home, reply: dict[str, Any]) -> Answer:
    db = connect(home.database, SystemClock().now())
    try:
        run = runs.get(db, RunId(reply["run"])) if reply["run"] is not None else None
    finally:
        db.close()
    seconds = (run.ended_at - run.started_at).total_seconds() if run and run.ended_at and run.started_at else None
    return Answer(text=printable(reply["text"]), seconds=seconds, cost=_cost(run))


def _cost(run: Run | None) -> str:
    """What is known of it: a subscription has no price for one answer."""
    if run is None:
        return "at no cost"
    tokens = f"{run.usage.input_tokens + run.usage.output_tokens} tokens"
    return f"{tokens}, {run.usage.cost_usd:.4f} US$" if run.usage.cost_usd else tokens
