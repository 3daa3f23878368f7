"""What a worker hands over, checked and in the host's own types."""

from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from nanoclaw.channels.whatsapp.protocol import Account, News, Outcome, ProtocolError, Spooled
from nanoclaw.model import (
    Inbound,
    InboundChat,
    InboundDeletion,
    InboundEdit,
    InboundMessage,
    InboundReaction,
    InboundReceipt,
)

_KINDS: Final[dict[str, TypeAdapter[Any]]] = {
    "message": TypeAdapter(InboundMessage),
    "edit": TypeAdapter(InboundEdit),
    "deletion": TypeAdapter(InboundDeletion),
    "reaction": TypeAdapter(InboundReaction),
    "chat": TypeAdapter(InboundChat),
    "receipt": TypeAdapter(InboundReceipt),
}
_SPOOLED: Final = TypeAdapter(Spooled)
_NEWS: Final = TypeAdapter(News)
_OUTCOME: Final = TypeAdapter(Outcome)
_ACCOUNT: Final = TypeAdapter(Account)


def read_spooled(frame: dict[str, Any]) -> tuple[int, Inbound]:
    """Its number in the spool, and what it is. Raises `ProtocolError`."""
    spooled: Spooled = _checked(_SPOOLED, frame)
    adapter = _KINDS.get(spooled.kind)
    if adapter is None:
        raise ProtocolError(f"something of kind {spooled.kind!r}")
    return spooled.seq, _checked(adapter, spooled.body)


def read_news(frame: dict[str, Any]) -> News:
    """Raises `ProtocolError`."""
    return _checked(_NEWS, frame)


def read_outcome(frame: dict[str, Any]) -> Outcome:
    """Raises `ProtocolError`."""
    return _checked(_OUTCOME, frame)


def read_account(frame: dict[str, Any]) -> Account:
    """Raises `ProtocolError`."""
    return _checked(_ACCOUNT, frame)


def _checked(adapter: TypeAdapter[Any], value: object) -> Any:  # noqa: ANN401
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ProtocolError(f"{place}: {first['msg']}") from error
