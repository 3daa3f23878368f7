"""A group's budget, and the signs of life of a long run, on a real host."""

from pathlib import Path

import pytest

from nanoclaw.testing.models import say, shell, steps
from nanoclaw.testing.world import make_world

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]


async def test_a_group_that_has_spent_its_budget_is_told_and_others_go_on(tmp_path: Path) -> None:
    with make_world(say("x"), say("hello"), engine="bubblewrap", directory=tmp_path) as world:
        world.secrets(ANTHROPIC_API_KEY="sk-ant-synthetic")
        world.register("family", budget={"tokensPerDay": 1})
        async with world.hosting() as client:
            assert [reply["text"] for reply in await world.ask(client, "family", "@Andy hi")] == ["hello"]
            message = {"chat": "local:family", "sender": "Bob", "text": "@Andy more"}
            stored = await client.post("/v1/messages", message)
            asked = {"chat": "local:family", "seq": int(stored["seq"]), "wait": 20}
            while not (answer := await client.get("/v1/answers", 30, **asked))["replies"]:
                asked["wait"] = 5
            (notice,) = answer["replies"]
            assert "What I may spend in this group today is used up." in notice["text"]
            assert answer["state"] == "waiting", "it is answered tomorrow"
            assert [reply["text"] for reply in await world.ask(client, "main", "hi")] == ["hello"]


async def test_a_run_that_takes_long_gives_signs_of_life(tmp_path: Path) -> None:
    script = steps(shell("sleep 6"), say("done at last"))
    settings = "[runs]\nsign_of_life_seconds = 1.5"
    with make_world(say("x"), script, engine="bubblewrap", settings=settings, directory=tmp_path) as world:
        world.secrets(ANTHROPIC_API_KEY="sk-ant-synthetic")
        async with world.hosting() as client:
            *signs, last = await world.ask(client, "main", "take your time")
    assert signs[0]["text"].startswith("Still at it, for 0:00:0")
    assert any("sleep 6" in sign["text"] for sign in signs)
    assert last["text"] == "done at last"
