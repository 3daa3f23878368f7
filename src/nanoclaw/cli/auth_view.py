"""How sign-ins are shown to people."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.table import Table

from nanoclaw.credentials.accounts import Account, GroupSignIn, Refused, SignIns
from nanoclaw.credentials.store import HOST
from nanoclaw.errors import CredentialError
from nanoclaw.providers import PROVIDERS

AGAIN: Final = "run the command again"
_METHODS: Final = {"api_key": "API key", "chatgpt": "ChatGPT login", "oauth_token": "subscription token"}
_OTHERWISE: Final = {
    "api_key": "`nanoclaw groups set FOLDER --auth-method api_key` takes the key.",
    "chatgpt": "`nanoclaw groups set FOLDER --auth-method chatgpt` takes the login.",
    "oauth_token": "A key goes before a token: `nanoclaw auth logout claude` removes both.",
}


def show_sign_ins(found: SignIns) -> None:
    """Print who is signed in, how each group signs in, and what is to be mended."""
    console = Console()
    if found.accounts:
        console.print(_accounts(found.accounts))
    else:
        print("Nobody is signed in. `nanoclaw auth login codex` or `nanoclaw auth login claude` does it.")
    if found.groups:
        print()
        console.print(_groups(found.groups))
    for line in problems(found):
        print(line)


def stopped() -> CredentialError:
    """What a sign-in comes to that the person broke off."""
    return CredentialError("the sign-in was stopped; nothing has changed", AGAIN)


def method_title(account: Account) -> str:
    """`ChatGPT login of ann@example.org (Plus)`, `API key`"""
    who = f" of {account.who}" if account.who else ""
    plan = f" ({account.plan.capitalize()})" if account.plan else ""
    return f"{_METHODS[account.method]}{who}{plan}"


def place(where: str) -> str:
    """Whose it is: the host's, or one group's own."""
    return "all groups" if where == HOST else f"{where} only"


def usage(account: Account, found: SignIns) -> str:
    """Which groups use it, and if none does, why not and what to do about it."""
    if account.groups:
        return f"Used by: {', '.join(account.groups)}."
    others = [group for group in found.groups if group.provider == account.provider and group.method]
    if not others:
        group = "FOLDER" if account.where == HOST else account.where
        return f"No group uses it yet: `nanoclaw groups set {group} --provider {account.provider}`."
    taken = ", ".join(f"{group.folder} takes {_signed_in_by(group)}" for group in others)
    return f"No group uses it: {taken}. {_OTHERWISE[account.method]}"


def problems(found: SignIns) -> Iterator[str]:
    """What is wrong, each with what to do."""
    for account in found.accounts:
        if account.problem:
            yield f"\n{PROVIDERS[account.provider].title}, {place(account.where)}: {account.problem}"
            yield f"  → {account.hint}"
    for group in found.groups:
        if group.problem:
            yield f"\n{group.folder}: {group.problem}"
            yield f"  → {group.hint}"
    for refused in found.refused:
        yield f"\n{refused.folder}: {refused_login(refused)}"
        yield f"  → {refused.hint}"


def refused_login(refused: Refused) -> str:
    """What happened to a login that nobody may believe."""
    return f"a login appeared while an agent was at work; it is not used, and kept at {refused.path}"


def local_time(instant: datetime) -> str:
    """An instant on this machine's own clock, to the minute."""
    return f"{instant.astimezone():%Y-%m-%d %H:%M}"


def _signed_in_by(group: GroupSignIn) -> str:
    return f"{_METHODS[group.method]}, {'of the host' if group.where == HOST else 'its own'}" if group.method else "–"


def _accounts(accounts: tuple[Account, ...]) -> Table:
    table = Table("provider", "for", "signed in by", "valid until", "used by", box=None)
    for account in accounts:
        used = ", ".join(account.groups) or "no group"
        table.add_row(account.provider, place(account.where), method_title(account), _until(account), used)
    return table


def _until(account: Account) -> str:
    if account.problem:
        return "see below"
    if account.expires_at is None:
        return ""
    return f"{local_time(account.expires_at)}, renewed"


def _groups(groups: tuple[GroupSignIn, ...]) -> Table:
    table = Table("group", "provider", "signs in by", "note", box=None)
    for group in groups:
        note = group.note or ("see below" if group.problem else "")
        table.add_row(group.folder, group.provider, _signed_in_by(group), note)
    return table
