"""Claude Code, through the Claude Agent SDK. The CLI is started first: it boots while Python imports the SDK."""

import json
import os
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, cast

from nanoclaw.wire import AGENT_HOME, GLOBAL_DIRECTORY, ContainerInput, Done, Failed
from nanoclaw_runner.cli import Cli
from nanoclaw_runner.emitter import Emitter
from nanoclaw_runner.environment import RELAY, agent_environment
from nanoclaw_runner.events import failed
from nanoclaw_runner.mcp import SERVER
from nanoclaw_runner.prelude import claude_prompt, claude_system_prompt
from nanoclaw_runner.providers.claude_errors import failure_of_process, failure_of_result, is_unknown_session
from nanoclaw_runner.providers.claude_events import Conversation
from nanoclaw_runner.providers.light_import import import_lightly
from nanoclaw_runner.surroundings import local_time, read_memory

_EXIT_PATIENCE: Final = 5.0
"""Seconds for Claude Code to save its session once it has said all; it takes a tenth."""

_SETTINGS: Final = {
    "CLAUDE_CONFIG_DIR": f"{AGENT_HOME}/.claude",
    "CLAUDE_CODE_ENTRYPOINT": "sdk-py",
    "CLAUDE_CODE_SDK_READS_SESSION_STATE": "1",  # the SDK closes stdin when told that nothing goes on in the background
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_MAX_RETRIES": "2",  # ten by default: three minutes until a bad key is called bad
    "API_TIMEOUT_MS": "150000",  # a little longer than the gateway waits, whose sentence says more
    "CLAUDE_ENABLE_STREAM_WATCHDOG": "1",
    "CLAUDE_STREAM_IDLE_TIMEOUT_MS": "120000",
    "CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS": "120000",
    "IS_SANDBOX": "1",  # it is one, whatever uid the engine has mapped us to
}
_SHELL_START: Final = "/tmp/.nanoclaw-shell"  # noqa: S108  # the sandbox's own, and nothing in it is secret
_NOT_OURS: Final = "CronCreate,CronDelete,CronList,ScheduleWakeup"
"""Tools that schedule inside the CLI, which ends with the run: tasks are scheduled through the mailbox."""


_SERVERS: Final = json.dumps({"mcpServers": {SERVER: {"type": "sdk", "name": SERVER, "alwaysLoad": True}}})
"""Whose tools it has: ours, which the runner serves; unless always loaded, the model would have to search for them."""


class _Session(Protocol):
    def converse(self, cli: Cli, prompt: str, images: Sequence[str], emit: Emitter, *, main: bool) -> Conversation: ...


def run(request: ContainerInput, emit: Emitter) -> Done | Failed:
    """Drive Claude Code through one run; answers how it ended.

    Raises:
        OSError: the sandbox lacks something.
    """
    prompt = claude_prompt(request, local_time(request["timezone"]))
    system_prompt = claude_system_prompt(request, read_memory(GLOBAL_DIRECTORY))
    session_id = request.get("sessionId")
    cli, conversation = _converse(request, system_prompt, session_id, prompt, emit)
    if session_id and conversation.result and is_unknown_session(conversation.result):
        cli, conversation = _converse(request, system_prompt, None, prompt, emit)
    if conversation.usage:
        emit(conversation.usage)
    if conversation.succeeded and conversation.answer:
        emit({"type": "output", "text": conversation.answer})
        return {"type": "done", "sessionId": conversation.session_id}
    return _failure(conversation, cli)


def _converse(
    request: ContainerInput, system_prompt: str, session_id: str | None, prompt: str, emit: Emitter
) -> tuple[Cli, Conversation]:
    cli = _start(request, system_prompt, session_id)
    session = cast("_Session", import_lightly("nanoclaw_runner.providers.claude_session"))
    conversation = session.converse(cli, prompt, request.get("images", ()), emit, main=request["isMain"])
    cli.wait(_EXIT_PATIENCE)
    return cli, conversation


def _failure(conversation: Conversation, cli: Cli) -> Failed:
    if conversation.succeeded:
        return failed("no_answer", "Claude Code ended without an answer")
    if conversation.result:
        return failure_of_result(conversation.result, conversation.error, conversation.resets)
    return failure_of_process(cli.wait(_EXIT_PATIENCE), cli.stderr_tail())


def _start(request: ContainerInput, system_prompt: str, session_id: str | None) -> Cli:
    plain = agent_environment(request, os.environ)
    environment = {**plain, **_SETTINGS, "ANTHROPIC_BASE_URL": f"{RELAY}/anthropic"}
    token = -1
    if request["credential"] == "api_key":
        environment["ANTHROPIC_API_KEY"] = "placeholder"  # the gateway puts the key in its place
    elif secret := "placeholder" if request.get("credentialAtGateway") else request.get("secret"):
        token = _as_pipe(secret)
        environment["CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR"] = str(token)
    environment["CLAUDE_ENV_FILE"] = _write_shell_start([*(environment.keys() - plain.keys()), "CLAUDE_ENV_FILE"])
    cli = Cli(_command(request, system_prompt, session_id), environment)
    if token >= 0:
        os.close(token)
    return cli


def _write_shell_start(names: Iterable[str]) -> str:
    """What Claude Code puts before each command of the agent, so that no shell has what only the CLI needs."""
    with open(_SHELL_START, "w", encoding="ascii") as file:  # noqa: PTH123  # no pathlib at a start
        file.write(f"unset {' '.join(names)}\n")
    return _SHELL_START


def _command(request: ContainerInput, system_prompt: str, session_id: str | None) -> list[str]:
    argv = [
        "claude", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose",
        "--permission-mode", "bypassPermissions",
        "--setting-sources=project",  # the group's CLAUDE.md; what the agent may have left in its home is no setting
        "--disallowedTools", _NOT_OURS,
        "--strict-mcp-config", "--mcp-config", _SERVERS,
        "--append-system-prompt", system_prompt,
        "--system-prompt-snapshot", "off",  # else a resumed session keeps the memory of its first day
    ]  # fmt: skip
    if request["model"]:
        argv.append(f"--model={request['model']}")
    if session_id:
        argv.append(f"--resume={session_id}")
    return argv


def _as_pipe(secret: str) -> int:
    """A descriptor for the CLI to inherit, from which the secret is read once: it is in no environment and no file."""
    reading, writing = os.pipe()
    os.write(writing, secret.encode())
    os.close(writing)
    os.set_inheritable(reading, True)
    return reading
