"""The group's mailbox, as seen from inside: put a request, wait for the host's answer, read what it keeps there."""

import json
import os
import time
from typing import Any, Final

from nanoclaw.wire import IPC_DIRECTORY
from nanoclaw_runner.verbs import Verb

PATIENCE: Final = 10.0
"""Seconds to wait for an answer; the host needs some milliseconds, unless it is being restarted."""
_FIRST_POLL: Final = 0.002
_LAST_POLL: Final = 0.05


class NoAnswerError(Exception):
    """The host has not answered in time; it may still do what it was asked."""


def ask(verb: Verb, fields: dict[str, Any], mailbox: str = IPC_DIRECTORY, patience: float = PATIENCE) -> Any:  # noqa: ANN401  # the host's JSON
    """What the host says to a request, or the file that answers it.

    Raises:
        NoAnswerError: it has not answered within `patience` seconds.
        OSError: the mailbox is not as it should be.
    """
    if verb.shows:
        return _read(f"{mailbox}/{verb.shows}")
    name = post(verb.directory, {**fields, "type": verb.type}, mailbox)
    answer = wait_for_answer(name, mailbox, patience)
    if answer is None:
        raise NoAnswerError(f"no answer to {name} within {patience:g} s; it may still be done, so look first")
    return answer


def post(directory: str, request: dict[str, Any], mailbox: str = IPC_DIRECTORY) -> str:
    """Put a request into the mailbox, whole or not at all; answers its file's name."""
    name = f"{time.time_ns()}-{os.urandom(3).hex()}.json"
    unfinished = f"{mailbox}/{directory}/.{name}.tmp"
    with open(unfinished, "x", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  # pathlib is slow to import
        json.dump(request, file, ensure_ascii=False)
    os.rename(unfinished, f"{mailbox}/{directory}/{name}")  # noqa: PTH104  # likewise
    return name


def wait_for_answer(name: str, mailbox: str = IPC_DIRECTORY, patience: float = PATIENCE) -> dict[str, Any] | None:
    """What the host answered to the request of that name; None when it did not within `patience` seconds."""
    deadline = time.monotonic() + patience
    pause = _FIRST_POLL
    while True:
        try:
            return _read(f"{mailbox}/results/{name}")
        except FileNotFoundError:
            if time.monotonic() > deadline:
                return None
        time.sleep(pause)
        pause = min(pause * 1.5, _LAST_POLL)


def _read(path: str) -> Any:  # noqa: ANN401  # the host's JSON
    with open(path, encoding="utf-8") as file:  # noqa: PTH123  # pathlib is slow to import
        return json.load(file)
