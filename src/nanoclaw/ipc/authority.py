"""Who may do what. Decided by the directory that a file lay in, never by what it says. Pure; the table is `VERBS`."""

import json
from dataclasses import dataclass

from nanoclaw.errors import MailboxError
from nanoclaw.ipc.commands import VERBS, Command
from nanoclaw.model import MAIN_FOLDER, Folder, Jid

_SHOWN_CHARACTERS = 60  # of a claim, in the log
_NOT_FOR_OWNER = "only in answer to one of the owners may main do this; let one of them ask for it here"


@dataclass(frozen=True, slots=True)
class Permit:
    """The command may take effect."""

    contradictions: tuple[str, ...]
    """What the file claimed about its sender and is not so, a phrase each; for the log."""


def authorise(
    command: Command,
    folder: Folder,
    own_chat: Jid,
    is_main: bool,
    *,
    owner: Folder | None = None,
    for_owner: bool = True,
) -> Permit:
    """Decide whether the group at `folder`, whose chat is `own_chat`, may do this.

    Args:
        command: what it asks for.
        folder: who asks.
        own_chat: its chat.
        is_main: whether it is `main`.
        owner: whose the task is that the command is about, once that was looked up.
        for_owner: whether it acts for somebody who owns the assistant; else `main` may do no more than other groups.

    Raises:
        MailboxError: it may not.
    """
    verb = VERBS[command.verb]
    another = owner not in (None, folder) or command.concerns_another(folder, own_chat)
    if not (verb.main if is_main and for_owner else verb.other if another else verb.own):
        raise MailboxError(_NOT_FOR_OWNER if is_main else _refusal(command, own_allowed=verb.own, own_chat=own_chat))
    return Permit(contradictions=_contradictions(command, folder, is_main))


def _refusal(command: Command, *, own_allowed: bool, own_chat: Jid) -> str:
    if own_allowed:
        return f"this group may use `{command.verb}` only for itself (its own chat is {own_chat})"
    return f"only the group `{MAIN_FOLDER}` may use `{command.verb}`; ask the owner to do it there"


def _contradictions(command: Command, folder: Folder, is_main: bool) -> tuple[str, ...]:
    claims = (
        ("groupFolder", command.claimed_folder, folder),
        ("createdBy", command.claimed_author, folder),
        ("isMain", command.claimed_main, is_main),
    )
    return tuple(
        f"{name} {json.dumps(claim)[:_SHOWN_CHARACTERS]}"
        for name, claim, truth in claims
        if claim is not None and claim != truth
    )
