"""Does a message wake its group's agent? Pure."""

import re

from nanoclaw.model import RegisteredGroup


def wakes(group: RegisteredGroup, text: str) -> bool:
    """Whether this is for the assistant: always in `main` and where no trigger is required, else if it begins so."""
    if group.is_main or not group.requires_trigger:
        return bool(text.strip())
    return starts_with_trigger(group.trigger, text)


def starts_with_trigger(trigger: str, text: str) -> bool:
    """Case-insensitive, at the very start but for white space, and no part of a longer word."""
    return re.match(rf"\s*{re.escape(trigger)}(?!\w)", text, re.IGNORECASE) is not None
