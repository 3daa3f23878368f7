"""Files both ways: what somebody sends reaches the agent, what the agent sends reaches the chat."""

import json
from base64 import b64encode

import anyio
import pytest
from typer.testing import CliRunner

from nanoclaw.cli import app
from nanoclaw.testing.models import Conversation, Step, say, shell
from nanoclaw.testing.world import ANSWER_SECONDS, make_world
from tests.integration.runner_rig import DOT

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

_SEND = 'cat /workspace/media/*.png > dot.png; echo private > /tmp/x; nanoclaw-ipc send "Here it is." --file dot.png;'
_STEAL = "nanoclaw-ipc send --file /tmp/x; touch /workspace/media/mine; echo done"


def script(conversation: Conversation) -> Step:
    if conversation.tool_outputs:
        return say(conversation.tool_outputs[-1])
    return shell(_SEND + _STEAL)


@pytest.mark.parametrize("provider", ["codex", "claude"])
async def test_a_picture_comes_in_and_goes_out_again(provider: str) -> None:
    with make_world(script, script, engine="bubblewrap") as world:
        world.secrets(OPENAI_API_KEY="sk-test-0123456789", ANTHROPIC_API_KEY="sk-test-0123456789")
        world.register("main", provider=provider)
        picture = {"name": "My dot.png", "data": b64encode(DOT).decode()}
        async with world.hosting() as client:
            body = {"chat": "local:main", "sender": "Bob", "files": [picture]}
            stored = await client.post("/v1/messages", body)
            with anyio.fail_after(ANSWER_SECONDS):
                answer = await client.get("/v1/answers", 60, chat="local:main", seq=stored["seq"], wait=60)
        sent, said = answer["replies"]
        assert (sent["kind"], sent["text"], [file["name"] for file in sent["files"]]) == (
            "message",
            "Here it is.",
            ["dot.png"],
        )
        assert (world.home.root / sent["files"][0]["path"]).read_bytes() == DOT
        assert "only files below /workspace/group" in said["text"]
        assert "Read-only file system" in said["text"]
        server = world.openai if provider == "codex" else world.anthropic
        shown = json.dumps(server.requests[-1].body)
        assert "image/png" in shown
        assert "My_dot.png" in shown
        shown = CliRunner().invoke(app, ["--home", str(world.home.root), "runs", "show", str(said["run"])]).output
        assert f"dot.png: {world.home.root / sent['files'][0]['path']}" in shown.replace("\n", "")
