"""Commands that people write into a chat and the host itself answers: no agent, no cost. Pure.

To add one: a row in `COMMANDS`, and what it does in `nanoclaw.chatdesk`.
"""

import re
from dataclasses import dataclass
from typing import Final, get_args

from nanoclaw.model import Standing
from nanoclaw.providers import PROVIDER_NAMES
from nanoclaw.wire import ApprovalPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandEntry:
    """What is known of a command."""

    help: str
    owner_only: bool = False
    arguments: tuple[str, ...] = ()
    """What may follow its name; empty: nothing."""
    needs_argument: bool = False


COMMANDS: Final[dict[str, CommandEntry]] = {
    "status": CommandEntry(help="what I am doing here, and whether anything is wrong"),
    "stop": CommandEntry(help="end what I am doing; `/stop all` also forgets what waits", arguments=("all",)),
    "retry": CommandEntry(help="try again what I could not answer"),
    "why": CommandEntry(help="as an answer to something I said: where it came from and what it cost"),
    "tasks": CommandEntry(help="what I do here by myself, and when next"),
    "provider": CommandEntry(
        help="who thinks here: `/provider claude` or `/provider codex`",
        owner_only=True,
        arguments=PROVIDER_NAMES,
        needs_argument=True,
    ),
    "level": CommandEntry(
        help="what I may do here: `/level readonly`, `auto` or `full`",
        owner_only=True,
        arguments=get_args(ApprovalPolicy),
        needs_argument=True,
    ),
    "help": CommandEntry(help="this list"),
}


@dataclass(frozen=True, slots=True)
class ChatCommand:
    """A command as it was written. `problem`: why it cannot be done, for whoever wrote it."""

    name: str
    argument: str = ""
    problem: str = ""


def parse_command(text: str, trigger: str) -> ChatCommand | None:
    """The command that a message is, if it is one: `/name [argument]`, with or without the trigger before it."""
    stripped = re.sub(rf"\A\s*{re.escape(trigger)}(?!\w)[\s,:]*", "", text, flags=re.IGNORECASE).strip()
    match = re.fullmatch(r"/([a-z]+)(?:[ \t]+(\S+))?", stripped, re.IGNORECASE)
    if match is None or (name := match[1].lower()) not in COMMANDS:
        return None
    return _checked(name, (match[2] or "").lower())


def _checked(name: str, argument: str) -> ChatCommand:
    entry = COMMANDS[name]
    if (argument and argument not in entry.arguments) or (entry.needs_argument and not argument):
        right = " or ".join(f"/{name} {value}" for value in entry.arguments) or f"/{name} alone"
        return ChatCommand(name, problem=f"Write {right}.")
    return ChatCommand(name, argument)


def may_use(command: ChatCommand, standing: Standing) -> bool:
    """Whether somebody of that standing may; strangers are not even answered."""
    return standing == "owner" or (standing == "member" and not COMMANDS[command.name].owner_only)


def help_text(standing: Standing) -> str:
    """What somebody of that standing may write."""
    lines = [f"/{name}: {entry.help}" for name, entry in COMMANDS.items() if may_use(ChatCommand(name), standing)]
    return "\n".join(["I answer these myself, without an agent and free of charge:", *lines])
