"""Turns stored messages into the text for the agent. Pure."""

from collections.abc import Sequence
from datetime import datetime
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

from nanoclaw.model import Message, ScheduledTask

_QUOTE = {'"': "&quot;"}


def local_time(instant: datetime, zone: ZoneInfo) -> str:
    """The instant in the assistant's zone, to the second, with its offset."""
    return instant.astimezone(zone).isoformat(timespec="seconds")


def task_prompt(task: ScheduledTask, due: datetime, zone: ZoneInfo, *, late: bool) -> str:
    """A task's instruction, marked as what it is; `late` when its moment was missed."""
    attributes = f'id="{task.id}" due="{local_time(due, zone)}"' + (' late="true"' if late else "")
    return f"<task {attributes}>{escape(task.prompt, _QUOTE)}</task>"


def messages_prompt(messages: Sequence[Message], zone: ZoneInfo, omitted: int = 0) -> str:
    """`<messages>` with one `<message sender time>` each, oldest first; everything that people wrote is escaped.

    Args:
        messages: what the run answers.
        zone: in which the times are given.
        omitted: how many older ones are not shown.
    """
    lines = [f'<messages omitted_before="{omitted}">' if omitted else "<messages>"]
    lines += [
        f'<message sender="{escape(message.sender_name, _QUOTE)}" time="{local_time(message.sent_at, zone)}">'
        f"{escape(message.text, _QUOTE)}</message>"
        for message in messages
    ]
    return "\n".join([*lines, "</messages>"])
