"""`nanoclaw auth login whatsapp`: codes in the terminal, then which chat is main's."""

import shutil
import sys
from contextlib import aclosing
from typing import Annotated, Final

import anyio
import typer

from nanoclaw.channels.whatsapp.channel import DOMAINS
from nanoclaw.channels.whatsapp.linking import Chats, Code, Linked, login_whatsapp, logout_whatsapp
from nanoclaw.cli.auth_view import stopped
from nanoclaw.cli.qr import qr_lines
from nanoclaw.config import Home, load_settings
from nanoclaw.errors import UsageError
from nanoclaw.formatting import shorten
from nanoclaw.groups import load_groups
from nanoclaw.initialise import initialise
from nanoclaw.model import InboundChat
from nanoclaw.setup.main_chat import move_main
from nanoclaw.setup.settings_file import change_settings

_NAME_CHARACTERS: Final = 50
_QR: Final = """\
On the phone: WhatsApp, Settings, Linked devices, Link a device. Then scan this. It changes by itself; Ctrl-C ends it.
"""
_TYPE: Final = """\
On the phone: WhatsApp, Settings, Linked devices, Link a device, Link with phone number instead. Enter this code there:

  {code}
"""
_NO_ROOM: Final = "The QR code does not fit: make this window wider, or run the command again with --phone NUMBER."
_HOST: Final = "A host that runs with WhatsApp switched on connects within seconds; another one at its next start."

_Phone = Annotated[
    str | None, typer.Option(metavar="NUMBER", help="By a code to type on the phone with this number, not by QR.")
]


def link(context: typer.Context, phone: _Phone = None) -> None:
    """Link this machine to a WhatsApp account, as one of the phone's linked devices."""
    home: Home = context.obj
    initialise(home)
    try:
        chats = anyio.run(lead_through_linking, home, phone)
    except KeyboardInterrupt:
        raise stopped() from None
    change_settings(home, {"whatsapp.enabled": True})
    print(_HOST)
    _choose_main(home, chats)


def unlink(home: Home) -> None:
    """Remove this machine from the account's linked devices."""
    account = anyio.run(logout_whatsapp, home, load_settings(home))
    print(f"This machine is no longer linked to +{account.phone}.")


async def lead_through_linking(home: Home, phone: str | None) -> tuple[InboundChat, ...]:
    """Show codes until a phone has taken one; answers the account's chats. Raises `ChannelError`, `UsageError`."""
    height = 0
    async with aclosing(login_whatsapp(home, load_settings(home), phone=phone)) as events:
        async for event in events:
            match event:
                case Code(kind="qr", text=text, seconds=seconds):
                    height = _show(text, seconds, height)
                case Code(text=code):
                    print(_TYPE.format(code=code), flush=True)
                case Linked(account=account):
                    print(f"Linked to +{account.phone}.", flush=True)
                case Chats(chats=chats):
                    return chats
    return ()


def _show(text: str, seconds: int, before: int) -> int:
    """Show a QR code, in the place of the one before where that can be; answers its height."""
    size = shutil.get_terminal_size()
    lines = qr_lines(text, size.columns - 2)
    if not lines:
        print(_NO_ROOM, flush=True)
        return 0
    if before and sys.stdout.isatty() and before < size.lines:
        print(f"\x1b[{before}A\x1b[J", end="")
    else:
        print(_QR)
    for line in lines:
        print(f"  {line}")
    print(f"It holds for {seconds} seconds; then the next one comes.", flush=True)
    return len(lines) + 1


def _choose_main(home: Home, chats: tuple[InboundChat, ...]) -> None:
    """List the chats; where somebody can answer, let them make one main's."""
    for number, chat in enumerate(chats, 1):
        print(f"{number:3}  {_named(chat)}  {chat.chat}")
    groups = load_groups(home.registered_groups)
    main = next((group for group in groups.values() if group.is_main), None)
    if main is not None and main.jid.endswith(DOMAINS):
        print(f"Main is {shorten(main.name, _NAME_CHARACTERS)} already. Register others with `nanoclaw groups add`.")
        return
    if not sys.stdin.isatty():
        print("Make one of them a group with `nanoclaw groups add`; choose main with `nanoclaw setup`.")
        return
    answer: str = typer.prompt("Which one is main, from which you give orders? Enter for none", default="")
    if answer.strip():
        chat = _chosen(chats, answer.strip())
        move_main(home, chat.chat, chat.name or "Main")
        print(f"Main is {_named(chat)} now.")


def _named(chat: InboundChat) -> str:
    """Its name, which other people chose, fit for a terminal; else its address."""
    return shorten(chat.name, _NAME_CHARACTERS) or chat.chat


def _chosen(chats: tuple[InboundChat, ...], answer: str) -> InboundChat:
    if answer.isdigit() and 1 <= int(answer) <= len(chats):
        return chats[int(answer) - 1]
    raise UsageError(f"{answer!r} is none of them", f"a number from 1 to {len(chats)}; `nanoclaw setup` asks again")
