"""OpenAI Codex: one `codex exec` for each run, prompt on stdin, its last message as the answer."""

import os
from typing import Final

from nanoclaw.wire import AGENT_HOME, GLOBAL_DIRECTORY, GROUP_DIRECTORY, ContainerInput, Done, Failed
from nanoclaw_runner.cli import Cli
from nanoclaw_runner.emitter import Emitter
from nanoclaw_runner.environment import agent_environment
from nanoclaw_runner.prelude import codex_prompt
from nanoclaw_runner.providers.codex_config import codex_environment, command, write_first_config
from nanoclaw_runner.providers.codex_events import Turn
from nanoclaw_runner.surroundings import local_time, read_memory

_CODEX_HOME: Final = f"{AGENT_HOME}/.codex"
_EXIT_PATIENCE: Final = 5.0
"""Seconds for Codex to save its state once the turn is over; it takes some milliseconds."""


def run(request: ContainerInput, emit: Emitter) -> Done | Failed:
    """Drive Codex through one run; answers how it ended.

    Raises:
        OSError: the sandbox lacks something.
    """
    write_first_config(_CODEX_HOME)
    environment = codex_environment(agent_environment(request, os.environ), _CODEX_HOME)
    prompt = codex_prompt(
        request, read_memory(GLOBAL_DIRECTORY), read_memory(GROUP_DIRECTORY), local_time(request["timezone"])
    )
    cli = Cli(command(request, environment), environment, stdin=prompt.encode("utf-8", "replace"))
    turn = Turn()
    for line in cli.lines():
        if activity := turn.take(line):
            emit(activity)
        if turn.over:
            break
    status = cli.wait(_EXIT_PATIENCE)
    if turn.usage:
        emit(turn.usage)
    if turn.error is None and turn.usage and turn.answer:
        emit({"type": "output", "text": turn.answer})
        return {"type": "done"}
    return _failure(turn, status, cli.stderr_tail())


def _failure(turn: Turn, status: int, stderr: str) -> Failed:
    from datetime import datetime  # here, as a run that goes well has no use for it

    from nanoclaw_runner.providers.codex_errors import failure_of_process, failure_of_turn

    if turn.error is not None:
        return failure_of_turn(turn.error, datetime.now().astimezone())
    return failure_of_process(0 if turn.usage else status, stderr)
