"""Who wakes a group's agent, and what is shown as an answer to what. Pure."""

import re
from collections.abc import Collection
from typing import Final

from nanoclaw.model import InboundMessage, RegisteredGroup, Standing

_LOCAL: Final = "local:"
_PHONE_DOMAIN: Final = "@s.whatsapp.net"
_NUMBER = re.compile(r"\+?[\d\s().-]*\d[\d\s().-]*")


def wakes(group: RegisteredGroup, message: InboundMessage, standing: Standing) -> bool:
    """Whether this is for the assistant, and from somebody who may wake it.

    It is always in `main` and where no trigger is required; else if it begins with the trigger, mentions the assistant
    by the platform's own means, or answers something that it said.
    """
    if standing == "stranger" or not (message.text.strip() or message.attachments):
        return False
    if group.is_main or not group.requires_trigger:
        return True
    return message.addressed or starts_with_trigger(group.trigger, message.text)


def starts_with_trigger(trigger: str, text: str) -> bool:
    """Case-insensitive, at the very start but for white space, and no part of a longer word."""
    return re.match(rf"\s*{re.escape(trigger)}(?!\w)", text, re.IGNORECASE) is not None


def standing(group: RegisteredGroup, sender: str, owners: Collection[str], *, from_owner: bool = False) -> Standing:
    """Who somebody is to the group. Where owners are named, everybody else is a stranger in `main`.

    Args:
        group: its policy decides.
        sender: their address.
        owners: addresses and phone numbers of the people who own the assistant; none: whoever is in `main`.
        from_owner: whether they are the user of the account itself.
    """
    at_this_machine = group.is_main and group.jid.startswith(_LOCAL)  # who reaches the control socket owns it
    if from_owner or at_this_machine or _is_one_of(sender, owners):
        return "owner"
    if group.is_main and owners:
        return "stranger"
    if group.senders.policy == "allowlist" and not _is_one_of(sender, group.senders.allow):
        return "stranger"
    return "owner" if group.is_main else "member"


def is_quoted(*, is_group: bool, spoken_since: bool) -> bool:
    """Whether a reply is shown as an answer to the message that asked: where others have spoken since, in a group."""
    return is_group and spoken_since


def _is_one_of(address: str, names: Collection[str]) -> bool:
    return any(_is(address, name) for name in names)


def _is(address: str, name: str) -> bool:
    """Whether a name in the settings means this address: written the same, or the phone number that it is of."""
    if address == name.strip():
        return True
    if not address.endswith(_PHONE_DOMAIN) or not _NUMBER.fullmatch(name.strip()):
        return False
    number = address.removesuffix(_PHONE_DOMAIN).partition(":")[0]
    return re.sub(r"\D", "", name) == number
