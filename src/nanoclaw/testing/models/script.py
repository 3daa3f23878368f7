"""What a scripted model says: a script looks at the conversation so far and decides the next step. Pure."""

import html
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from nanoclaw.model import TokenUsage

USAGE: Final = TokenUsage(input_tokens=10, cached_input_tokens=4, output_tokens=3)
"""What every answered model request is said to have cost, in the API's own fields: OpenAI counts the cached tokens
among the input tokens, Anthropic beside them. A run pays it once for each of its requests."""

FaultKind = Literal[
    "auth",  # 401, the credential is refused
    "forbidden",  # 403
    "rate_limited",  # 429 that passes by itself
    "usage_limit",  # 429, a subscription's window is used up until `resets_at`
    "billing",  # 429 insufficient_quota (OpenAI), 400 credit balance too low (Anthropic)
    "server_error",  # 500
    "overloaded",  # 503 (OpenAI), 529 (Anthropic)
    "model_not_found",  # 404
    "context_too_long",  # an event of the stream (OpenAI), 400 (Anthropic)
    "dropped",  # the stream breaks off in the middle of the answer
    "silent",  # the stream begins, then nothing more comes
    "no_headers",  # the request is taken and never answered at all
    "empty",  # the answer completes without any text
]

PartKind = Literal["user", "tool", "system"]
Part = tuple[PartKind, str]
"""One piece of a request's conversation: what the user wrote, what a tool put out, or what the CLI itself added."""

_MESSAGES: Final = re.compile(r"<messages\b[^>]*>(.*?)</messages>", re.DOTALL)
_MESSAGE: Final = re.compile(r"<message\b[^>]*>(.*?)</message>", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """One model request, whichever API it came through."""

    prompt: str
    """The newest thing that the user said, without what the CLI adds to it (reminders, AGENTS.md, environment)."""
    tool_outputs: tuple[str, ...]
    """What the tools put out since the prompt, oldest first, without the frame that Codex puts around it."""
    headers: Mapping[str, str]
    """Names in lower case."""
    model: str
    system: str
    """Instructions, reminders and memory files: all that the CLI tells the model beside the conversation."""

    @property
    def messages(self) -> tuple[str, ...]:
        """Texts of the `<message …>` elements in the prompt's last `<messages>` block, unescaped, oldest first."""
        newest_block = "".join(_MESSAGES.findall(self.prompt)[-1:])
        return tuple(html.unescape(text).strip() for text in _MESSAGE.findall(newest_block))


@dataclass(frozen=True, slots=True)
class Say:
    """Made by `say`."""

    text: str | Callable[[Conversation], str]
    pause: float

    def spoken(self, conversation: Conversation) -> str:
        """The text itself."""
        return self.text if isinstance(self.text, str) else self.text(conversation)


@dataclass(frozen=True, slots=True)
class Shell:
    """Made by `shell`."""

    command: str


@dataclass(frozen=True, slots=True)
class Tool:
    """Made by `tool`."""

    name: str
    input: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Fault:
    """Made by `fault`."""

    kind: FaultKind
    resets_at: datetime | None


Step = Say | Shell | Tool | Fault
Script = Step | Callable[[Conversation], Step]
"""A step that is always the same, or a function that decides it anew for each request. The function is called on a
thread of the server: it may block to hold an answer back, but no longer than the server is to live."""


def say(text: str | Callable[[Conversation], str], *, pause: float = 0.0) -> Say:
    """Answer with a text and end the turn.

    Args:
        text: the answer, or a function from the conversation (its prompt, its tool outputs) to the answer.
        pause: seconds to wait before each word, to stream slowly.
    """
    return Say(text, pause)


def shell(command: str) -> Shell:
    """Have the agent run a shell command, and wait for its output: Codex' models without scripts for 30 s at most."""
    return Shell(command)


def tool(name: str, **arguments: object) -> Tool:
    """Have Claude use one of its tools, whichever it is."""
    return Tool(name, arguments)


def fault(kind: FaultKind, *, resets_at: datetime | None = None) -> Fault:
    """Fail as the real API does. `resets_at` is for `usage_limit` only; without it, five hours from the request on."""
    return Fault(kind, resets_at)


def steps(*sequence: Step) -> Script:
    """One step after the other: the tool outputs since the prompt tell which is next, so conversations do not mix.

    Raises:
        ValueError: the last step is no end of a turn.
    """
    if not sequence or isinstance(sequence[-1], Shell | Tool):
        raise ValueError("the last step must say something or fail, else the turn never ends")
    return lambda conversation: sequence[min(len(conversation.tool_outputs), len(sequence) - 1)]


def first(count: int, step: Step, then: Script) -> Script:
    """Answer the first `count` requests (of all conversations together) with `step`, all others by `then`."""
    turns = itertools.count()  # next() on it is atomic
    return lambda conversation: step if next(turns) < count else next_step(then, conversation)


def next_step(script: Script, conversation: Conversation) -> Step:
    """What `script` does now."""
    return script(conversation) if callable(script) else script


def conversation_of(parts: Iterable[Part], *, headers: Mapping[str, str], model: str) -> Conversation:
    """Find the newest prompt among the pieces of a request, and what the tools put out since."""
    pieces = tuple(parts)
    newest = max((place for place, (kind, _) in enumerate(pieces) if kind == "user"), default=-1)
    return Conversation(
        prompt=pieces[newest][1] if newest >= 0 else "",
        tool_outputs=tuple(text for kind, text in pieces[newest + 1 :] if kind == "tool"),
        headers=headers,
        model=model,
        system="\n".join(text for kind, text in pieces if kind == "system"),
    )
