"""Turns stored messages into the text for the agent. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

from nanoclaw.formatting import shorten
from nanoclaw.model import Change, MediaFile, Message, Quote, ScheduledTask
from nanoclaw.wire import MEDIA_DIRECTORY

_QUOTE = {'"': "&quot;"}
_QUOTED_CHARACTERS: Final = 500  # of a message that is answered: enough to know which it is
_ABOUT_CHARACTERS: Final = 200  # of one that was changed or reacted to: likewise

IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
"""What the providers' models can look at."""
MOST_IMAGES: Final = 8
"""Shown as images in one prompt, the newest; the others are files like any other."""
MOST_IMAGE_BYTES: Final = 3_700_000
"""Of one image: the providers take 5 MB, and base64 makes it a third longer."""
MOST_IMAGES_BYTES: Final = 18_000_000
"""Of all images of a prompt: the providers take 32 MB."""


def local_time(instant: datetime, zone: ZoneInfo) -> str:
    """The instant in the assistant's zone, to the second, with its offset."""
    return instant.astimezone(zone).isoformat(timespec="seconds")


def task_prompt(task: ScheduledTask, due: datetime, zone: ZoneInfo, *, late: bool) -> str:
    """A task's instruction, marked as what it is; `late` when its moment was missed."""
    attributes = f'id="{task.id}" due="{local_time(due, zone)}"' + (' late="true"' if late else "")
    return f"<task {attributes}>{_escaped(task.prompt)}</task>"


def messages_prompt(
    messages: Sequence[Message], zone: ZoneInfo, omitted: int = 0, changes: Sequence[Change] = ()
) -> str:
    """`<messages>` with one `<message sender time from>` each, oldest first; everything that people wrote is escaped.

    Args:
        messages: what the run answers.
        zone: in which the times are given.
        omitted: how many older ones are not shown.
        changes: what became of earlier messages since the last run; told first.
    """
    lines = [f'<messages omitted_before="{omitted}">' if omitted else "<messages>"]
    lines += [_change(change, zone) for change in changes]
    lines += [_message(message, zone) for message in messages]
    return "\n".join([*lines, "</messages>"])


def images_of(messages: Sequence[Message]) -> list[str]:
    """The images among what people sent that the agent is shown as such, by their paths in the sandbox."""
    shown: list[str] = []
    left = MOST_IMAGES_BYTES
    for file in (file for message in reversed(messages) for file in reversed(message.files)):
        if file.file and file.mime in IMAGE_TYPES and file.size <= min(MOST_IMAGE_BYTES, left):
            shown.insert(0, _path(file))
            left -= file.size
    return shown[-MOST_IMAGES:]


def _message(message: Message, zone: ZoneInfo) -> str:
    edited = f' edited="{local_time(message.edited_at, zone)}"' if message.edited_at else ""
    inside = [
        *([_quoted(message.quote)] if message.quote else []),
        *(_file(file) for file in message.files),
        *([_escaped(message.text)] if message.text or not message.files else []),
    ]
    return (
        f'<message sender="{_escaped(message.sender_name)}" time="{local_time(message.sent_at, zone)}"'
        f' from="{message.standing}"{edited}>' + "\n".join(inside) + "</message>"
    )


def _quoted(quote: Quote) -> str:
    who = 'sender="you"' if quote.ours else f'sender="{_escaped(quote.sender_name or quote.sender)}"'
    return f"<quoted {who}>{_escaped(shorten(quote.text, _QUOTED_CHARACTERS))}</quoted>"


def _file(file: MediaFile) -> str:
    where = f'path="{_escaped(_path(file))}"' if file.file else f'missing="{_escaped(file.problem)}"'
    name = f' name="{_escaped(file.name)}"' if file.name else ""
    return f'<file {where} kind="{file.kind}" type="{_escaped(file.mime)}" bytes="{file.size}"{name}/>'


def _path(file: MediaFile) -> str:
    return f"{MEDIA_DIRECTORY}/{file.file}"


def _change(change: Change, zone: ZoneInfo) -> str:
    attributes = f'sender="{_escaped(change.actor_name)}" time="{local_time(change.at, zone)}" from="{change.standing}"'
    which = "your_message" if change.ours else "message"
    about = f'{which}="{_escaped(shorten(change.about, _ABOUT_CHARACTERS))}"'
    match change.kind:
        case "edit":
            return f"<edited {attributes} {about}>{_escaped(change.text)}</edited>"
        case "deletion":
            return f"<deleted {attributes} {about}/>"
        case "reaction":
            return f'<reaction {attributes} emoji="{_escaped(change.text)}" {about}/>'


def _escaped(text: str) -> str:
    return escape(text, _QUOTE)
