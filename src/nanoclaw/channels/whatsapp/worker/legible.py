"""Strings of the library that are no UTF-8: senders choose them, and protobuf hands those over as bytes. Pure."""

from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


def make_legible(message: Message) -> None:
    """Replace what cannot be read in every string of a message, however deep."""
    for field, value in cast("list[tuple[FieldDescriptor, Any]]", message.ListFields()):
        if field.type == FieldDescriptor.TYPE_STRING:
            _mend(message, field, value)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in value if _is_many(value) else (value,):
                make_legible(inner)


def _is_many(value: object) -> bool:
    return not isinstance(value, Message)


def _mend(message: Message, field: FieldDescriptor, value: Any) -> None:  # noqa: ANN401 - what protobuf holds
    if isinstance(value, bytes):
        setattr(message, field.name, value.decode("utf-8", "replace"))
    elif not isinstance(value, str):
        for at, item in enumerate(value):
            if isinstance(item, bytes):
                value[at] = item.decode("utf-8", "replace")
