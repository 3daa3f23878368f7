"""What agents say: mailbox files, a runner's lines, a sandbox's proof, replies, logins, what Codex prints."""

import json
from base64 import urlsafe_b64encode
from contextlib import suppress
from typing import Final

from nanoclaw import formatting, outcome
from nanoclaw.carriage import LARGEST, MOST, WINDOW, Carriage, Kind
from nanoclaw.channels.whatsapp import formatting as whatsapp
from nanoclaw.credentials.login import parse_login
from nanoclaw.errors import CredentialError, MailboxError, WireError
from nanoclaw.ipc import protocol
from nanoclaw.ipc.commands import VERBS
from nanoclaw.sandbox import proof
from nanoclaw.sandbox.base import Traits
from nanoclaw.wire import CHECKS, PROTOCOL
from nanoclaw_runner.providers.codex_events import Turn
from tests.fuzz.target import target

_SMALLEST_LIMIT: Final = 64


@target(
    "mailbox", *(verb.model.example.encode() for verb in VERBS.values()), words=tuple(name.encode() for name in VERBS)
)
def mailbox(data: bytes) -> None:
    """A file is a command, or a refusal in one line."""
    try:
        command = protocol.parse(data)
    except MailboxError as refusal:
        json.dumps(protocol.error_answer(str(refusal)), ensure_ascii=False).encode()
        return
    assert command.verb in VERBS
    command.concerns_another("family", "local:family")  # pyright: ignore[reportArgumentType]
    repr(command).encode()


_INSIDE: Final = Carriage()
_CONNECTION, _OPENING = _INSIDE.open()


@target(
    "carriage",
    _INSIDE.ready() + _OPENING + _INSIDE.data(_CONNECTION, b"GET / HTTP/1.1\r\n\r\n") + _INSIDE.end(_CONNECTION),
    _OPENING + _INSIDE.taken(_CONNECTION, 0) + _INSIDE.drop(_CONNECTION),
)
def carriage(data: bytes) -> None:
    """What comes over a sandbox's pipe is frames, none larger and no more than there is room for, or nonsense."""
    waiting = 0
    with suppress(WireError):
        for frame in Carriage().receive(data):
            waiting += len(frame.data) if frame.kind is Kind.DATA else 0
            assert len(frame.data) <= LARGEST
            assert waiting <= WINDOW * MOST


_EVENTS: Final = (
    b'{"type":"started","protocol":%d}' % PROTOCOL,
    b'{"type":"activity","text":"ls"}',
    b'{"type":"output","text":"Hello <internal>not this</internal> you"}',
    b'{"type":"usage","inputTokens":10,"cachedInputTokens":4,"outputTokens":3,"costUsd":0.01}',
    b'{"type":"done","sessionId":"5b0e"}',
    b'{"type":"failed","kind":"usage_limit","text":"later","retryable":true,"resetsAt":"2026-01-31T12:00:00+00:00"}',
)


@target("events", b"\n".join(_EVENTS[:5]), b"\n".join((_EVENTS[0], _EVENTS[5])), *_EVENTS)
def events(data: bytes) -> None:
    """A run's lines come to an outcome, or end it."""
    hearing = outcome.Hearing()
    with suppress(WireError):
        for line in (_EVENTS[0], *data.split(b"\n")):
            hearing.take(line)
            if isinstance(hearing.outcome, outcome.Answered):
                replies(hearing.outcome.text.encode("utf-8", "surrogatepass"))
                assert 0 <= hearing.outcome.usage.input_tokens <= 1 << 53
                return


_PROOF: Final = {"type": "proof", "protocol": PROTOCOL, "checks": dict.fromkeys(CHECKS, ""), "milliseconds": 9.5}


@target("proof", json.dumps(_PROOF).encode(), b'{"type":"failed","text":"no"}', words=tuple(c.encode() for c in CHECKS))
def proofs(data: bytes) -> None:
    """Nothing but a whole proof lets a run begin."""
    verdict = proof.judge(data, Traits(fixtures=()))
    if not verdict.held:
        assert verdict.failure("").detail
    else:
        said = json.loads(data)
        assert set(said.get("checks", ())) == set(CHECKS), "held without a whole proof"
        assert not any(said["checks"].values())


_REPLY: Final = (
    "# Title\n\nSome **bold**, *slanted*, `code` and [a link](https://example.org).\n\n- one\n- [x] two\n\n"
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nprint('x')\n```\n<internal>hidden</internal> 👩‍👩‍👧 🇩🇪"
).encode()


@target(
    "replies",
    _REPLY,
    b"<internal>",
    b"***",
    words=(b"```", b"**", b"<internal>", b"</internal>", b"|---|", b"](", b"~~"),
)
def replies(data: bytes) -> None:
    """What is shown has no control characters, nothing hidden, and parts that fit and lose nothing."""
    shown = formatting.reply_text(data.decode("utf-8", "replace"))
    assert "<internal>" not in shown.lower() or "</internal>" in shown.lower()
    for text in (shown, whatsapp.formatted(shown)):
        assert not any(ord(c) < 32 and c not in "\n\t" for c in text), "a control character"
        text.encode()
        for limit in (_SMALLEST_LIMIT, 1000):
            parts = formatting.split_text(text, limit)
            assert all(len(part) <= limit for part in parts), "a part is too long"
            assert len(parts) <= 4 + 4 * len(text) // limit + text.count("\n"), "too many parts"
    assert len(formatting.shorten(shown, 60)) <= 60


def _part(claims: dict[str, object]) -> str:
    return urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


_TOKEN: Final = f"{_part({'alg': 'none'})}.{_part({'exp': 1893456000, 'iat': 1893450000, 'email': 'a@b.c'})}.c2ln"
_LOGIN: Final = {
    "auth_mode": "chatgpt",
    "OPENAI_API_KEY": None,
    "tokens": {"id_token": _TOKEN, "access_token": _TOKEN, "refresh_token": "r", "account_id": "acc"},
    "last_refresh": "2026-01-31T12:00:00Z",
}


@target("login", json.dumps(_LOGIN).encode(), json.dumps(_LOGIN["tokens"]).encode(), _TOKEN.encode())
def login(data: bytes) -> None:
    """An `auth.json` is a login, or refused without its content."""
    try:
        found = parse_login(data)
    except CredentialError:
        return
    _ = (found.expires_at, found.lifetime, found.renew_at, found.tokens)
    assert parse_login(found.as_file()).access_token == found.access_token


@target(
    "codex",
    b'{"type":"turn.completed","usage":{"input_tokens":10,"cached_input_tokens":4,"output_tokens":3}}',
    b'{"type":"turn.failed","error":{"message":"{\\"error\\":{\\"code\\":\\"x\\"}}"}}',
    b'{"type":"item.completed","item":{"type":"agent_message","text":"hi"}}',
    b'{"type":"item.started","item":{"type":"command_execution","command":"ls"}}',
)
def codex(data: bytes) -> None:
    """Whatever Codex prints, the runner goes on."""
    turn = Turn()
    for line in data.split(b"\n"):
        turn.take(line)
