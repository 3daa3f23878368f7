"""`nanoclaw auth`: who is signed in; signing in and out."""

import json
import sys
from getpass import getpass
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from nanoclaw.cli import whatsapp
from nanoclaw.cli.auth_claude import subscription_token
from nanoclaw.cli.auth_codex import log_in
from nanoclaw.cli.auth_view import local_time, method_title, place, show_sign_ins, stopped, usage
from nanoclaw.config import Home
from nanoclaw.credentials.accounts import Account, SignIns, adopt_login, as_json, describe, save_key
from nanoclaw.credentials.login import Login
from nanoclaw.credentials.store import HOST
from nanoclaw.errors import UsageError
from nanoclaw.groups import find_group, load_groups
from nanoclaw.initialise import initialise
from nanoclaw.model import Folder
from nanoclaw.providers import PROVIDERS, ProviderName
from nanoclaw.signin.revocation import sign_out
from nanoclaw.wire import CredentialMethod

app = typer.Typer(help="Who is signed in; signing in and out.", no_args_is_help=True)
login = typer.Typer(help="Sign in.", no_args_is_help=True)
app.add_typer(login, name="login")

_Group = Annotated[str | None, typer.Option("--group", metavar="FOLDER", help="For this group alone.")]
_Account = Annotated[Literal[ProviderName, "whatsapp"], typer.Argument(help="Of whom.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_Key = Annotated[bool, typer.Option("--api-key", help="Read a key: typed unseen, or from standard input.")]
_Path = Annotated[Path | None, typer.Argument(help="With --import: the auth.json; default: ~/.codex/auth.json.")]

_CODEX_LOGIN: Final = Path("~/.codex/auth.json")
_NO_CLAUDE: Final = """\
There is no Claude Code on this machine. On one that has it, and a browser, run `claude setup-token`, and bring what it
prints; or fetch it with `nanoclaw image build --engine bubblewrap`, and run this command again.
"""
_MOVE: Final = """\
{path} becomes {whose} login.
Codex must not go on using it there: its refresh token works once, and whoever uses it second ends the login for both.
Delete that file afterwards (not with `codex logout`, which would revoke the login), and sign in there anew if need be.
"""


@app.command()
def status(
    context: typer.Context, for_programs: Annotated[bool, typer.Option("--json", help="For programs.")] = False
) -> None:
    """Who is signed in, how, until when, and which groups use it. Never shows a secret."""
    found = describe(context.obj)
    if for_programs:
        print(json.dumps(as_json(found), indent=2, ensure_ascii=False))
    else:
        show_sign_ins(found)


@login.command()
def codex(
    context: typer.Context,
    path: _Path = None,
    device: Annotated[bool, typer.Option("--device", help="By a code, in a browser on any machine.")] = False,
    api_key: _Key = False,
    take_over: Annotated[bool, typer.Option("--import", help="Take over a login that Codex made elsewhere.")] = False,
    group: _Group = None,
    yes: _Yes = False,
) -> None:
    """Sign in to Codex with a ChatGPT subscription, or with an API key."""
    if device + api_key + take_over > 1:
        raise UsageError("--device, --api-key and --import exclude each other", "choose one of them")
    if path is not None and not take_over:
        raise UsageError("a path goes with --import", f"nanoclaw auth login codex --import {path}")
    home, folder = _place(context, group)
    if api_key:
        _store_key(home, "codex", "OPENAI_API_KEY", _read_secret("OpenAI API key"), folder)
    elif take_over:
        _take_over(home, (path or _CODEX_LOGIN).expanduser(), folder, yes)
    else:
        log_in(home, folder, device=device)
        _say_who(home, folder)


@login.command()
def claude(context: typer.Context, api_key: _Key = False, group: _Group = None) -> None:
    """Sign in to Claude with a subscription, by `claude setup-token`, or with an API key."""
    home, folder = _place(context, group)
    if api_key:
        _store_key(home, "claude", "ANTHROPIC_API_KEY", _read_secret("Anthropic API key"), folder)
        return
    token = subscription_token(home) if sys.stdin.isatty() else None
    if token is None and sys.stdin.isatty():
        print(_NO_CLAUDE)
    _store_key(home, "claude", "CLAUDE_CODE_OAUTH_TOKEN", token or _read_secret("Token"), folder)


login.command("whatsapp")(whatsapp.link)


@app.command()
def logout(context: typer.Context, account: _Account, group: _Group = None, yes: _Yes = False) -> None:
    """Sign out: remove the login and the keys of a provider, and revoke a ChatGPT login; or unlink WhatsApp."""
    home: Home = context.obj
    if account == "whatsapp":
        if _agreed("Unlink WhatsApp? The assistant then hears nothing there.", yes):
            whatsapp.unlink(home)
        return
    _sign_out(home, account, group, yes)


def _sign_out(home: Home, provider: ProviderName, group: str | None, yes: bool) -> None:
    folder = _folder(home, group)
    accounts = _accounts_at(home, provider, folder)
    if not accounts:
        print(f"Nobody is signed in to {PROVIDERS[provider].title} for {place(folder or HOST)}.")
        return
    for account in accounts:
        used = f", used by {', '.join(account.groups)}" if account.groups else ""
        print(f"This removes: {method_title(account)}, for {place(account.where)}{used}")
    if not _agreed("Sign out?", yes):
        raise typer.Exit(1)
    left = sign_out(home, provider, folder)
    for removed in left.removed:
        print(f"Removed: {removed}")
    if left.login is not None:
        print(_revoked(left.login, left.problem))
    for account in _accounts_at(home, provider, folder):
        print(f"Still there: {method_title(account)}, from the environment of this command; unset it there.")


def _folder(home: Home, name: str | None) -> Folder | None:
    return None if name is None else find_group(load_groups(home.registered_groups), name).folder


def _place(context: typer.Context, name: str | None) -> tuple[Home, Folder | None]:
    """Where a sign-in goes; a home that is not there yet is made."""
    home: Home = context.obj
    initialise(home)
    return home, _folder(home, name)


def _accounts_at(home: Home, provider: ProviderName, folder: Folder | None) -> list[Account]:
    return [account for account in describe(home).accounts if _is_at(account, provider, folder)]


def _is_at(account: Account, provider: ProviderName, folder: Folder | None) -> bool:
    return account.provider == provider and account.where == (folder or HOST)


def _read_secret(what: str) -> str:
    """A line, typed without being seen, or from standard input; never from the command line, which others can read."""
    try:
        line = getpass(f"{what} (not shown): ") if sys.stdin.isatty() else sys.stdin.readline()
    except (EOFError, KeyboardInterrupt):
        print()
        raise stopped() from None
    return line.strip()


def _store_key(home: Home, provider: ProviderName, name: str, value: str, folder: Folder | None) -> None:
    path = save_key(home, name, value, folder)
    print(f"{name} is in {path}; whether it works shows with the next message.")
    method: CredentialMethod = "oauth_token" if name == "CLAUDE_CODE_OAUTH_TOKEN" else "api_key"
    found = describe(home)
    print(usage(_stored(found, provider, method, folder), found))


def _take_over(home: Home, path: Path, folder: Folder | None, yes: bool) -> None:
    print(_MOVE.format(path=path, whose=f"{folder}'s own" if folder else "the host's"))
    if not _agreed("Take it over?", yes):
        raise typer.Exit(1)
    adopt_login(home, path, folder)
    _say_who(home, folder)


def _say_who(home: Home, folder: Folder | None) -> None:
    found = describe(home)
    account = _stored(found, "codex", "chatgpt", folder)
    print(f"Signed in for {place(account.where)}: {method_title(account)}.")
    print(usage(account, found))


def _stored(found: SignIns, provider: ProviderName, method: CredentialMethod, folder: Folder | None) -> Account:
    return next(each for each in found.accounts if _is_at(each, provider, folder) and each.method == method)


def _agreed(question: str, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("this needs your word, and standard input is no terminal", "add --yes")
    return typer.confirm(question)


def _revoked(login: Login, problem: str) -> str:
    until = f", at {local_time(login.expires_at)} at the latest" if login.expires_at else ""
    if not problem:
        return f"OpenAI has revoked it: nobody can renew it. What was handed out of it ends by itself{until}."
    return (
        f"OpenAI could not be told ({problem}): whoever has a copy of the login can use it.\n"
        "  → end the session of Codex in the security settings of ChatGPT"
    )
