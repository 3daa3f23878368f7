"""One conversation with a running Claude Code, through the Claude Agent SDK."""

import asyncio
import json
import os
import sys
from asyncio.streams import FlowControlMixin
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from claude_agent_sdk import (
    ClaudeAgentOptions,
    ClaudeSDKError,
    HookContext,
    HookInput,
    HookJSONOutput,
    HookMatcher,
    ProcessError,
    Transport,
    query,
)

from nanoclaw_runner.cli import Cli
from nanoclaw_runner.emitter import Emitter
from nanoclaw_runner.mcp import respond
from nanoclaw_runner.providers.claude_events import Conversation
from nanoclaw_runner.providers.images import image_blocks
from nanoclaw_runner.providers.transcript import archive

_MAX_LINE_BYTES: Final = 64 << 20
"""A message is one line, and a tool's result in it may be an image."""


def converse(cli: Cli, prompt: str, images: Sequence[str], emit: Emitter, *, main: bool) -> Conversation:
    """Say `prompt` and take in what follows, until the CLI has said all.

    Args:
        cli: Claude Code, just started.
        prompt: the user's message.
        images: files that are shown with it.
        emit: told what the agent does.
        main: whether it has the tools that are main's alone.
    """
    conversation = Conversation()
    blocks = image_blocks(images)
    said = _with_images(prompt, blocks) if blocks else prompt
    asyncio.run(_converse(_Pipes(cli, conversation, emit, main), said))
    return conversation


async def _with_images(prompt: str, blocks: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    content = [*blocks, {"type": "text", "text": prompt}]
    message = {"role": "user", "content": content}
    yield {"type": "user", "session_id": "", "message": message, "parent_tool_use_id": None}


async def _converse(transport: Transport, prompt: str | AsyncIterator[dict[str, Any]]) -> None:
    options = ClaudeAgentOptions(
        hooks={"PreCompact": [HookMatcher(hooks=[_keep_transcript])]},
        verbatim_prompts=True,  # what people write is neither a /command nor an @file to be read
    )
    try:
        async for _ in query(prompt=prompt, options=options, transport=transport):
            pass  # taken in by the transport: the SDK drops what each result cost
    except ClaudeSDKError as error:
        print(f"the conversation ended: {error}", file=sys.stderr)  # noqa: T201  # the runner's log


async def _keep_transcript(hook: HookInput, tool_use_id: str | None, context: HookContext) -> HookJSONOutput:
    archive(hook["transcript_path"])
    return {}


def _asked_of_tools(message: dict[str, Any]) -> object:
    """What the CLI says to our tools' server, if that is what the message is for."""
    match message:
        case {"type": "control_request", "request": {"subtype": "mcp_message", "message": asked}}:
            return asked
        case _:
            return None


class _Pipes(Transport):
    """The SDK's way to a CLI that runs already."""

    def __init__(self, cli: Cli, conversation: Conversation, emit: Emitter, main: bool) -> None:
        self._cli = cli
        self._main = main
        self._conversation = conversation
        self._emit = emit

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader(_MAX_LINE_BYTES)
        output = os.fdopen(self._cli.stdout, "rb", 0)
        self._output, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self._reader), output)
        pipe, protocol = await loop.connect_write_pipe(FlowControlMixin, os.fdopen(self._cli.stdin, "wb", 0))
        self._writer = asyncio.StreamWriter(pipe, protocol, None, loop)

    async def write(self, data: str) -> None:
        self._writer.write(data.encode("utf-8", "replace"))
        await self._writer.drain()

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        while line := await self._reader.readline():
            if not line.startswith(b"{"):
                continue
            message: dict[str, Any] = json.loads(line)
            if (asked := _asked_of_tools(message)) is not None:
                await self._answer(message["request_id"], asked)
                continue  # the SDK has a server of its own, which takes a second to import
            for activity in self._conversation.take(message):
                self._emit(activity)
            yield message
        if not self._conversation.succeeded:
            raise ProcessError("Claude Code has ended")  # else the SDK may wait for an answer to its own greeting

    async def _answer(self, request: str, asked: object) -> None:
        said = await asyncio.to_thread(respond, asked, main=self._main)
        answer = {"mcp_response": said or {"jsonrpc": "2.0", "result": {}}}  # even what wants no answer is acknowledged
        response = {"subtype": "success", "request_id": request, "response": answer}
        await self.write(json.dumps({"type": "control_response", "response": response}) + "\n")

    async def end_input(self) -> None:
        self._writer.close()

    async def close(self) -> None:
        self._writer.close()
        self._output.close()

    def is_ready(self) -> bool:
        return True
