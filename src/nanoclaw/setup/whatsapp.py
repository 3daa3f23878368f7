"""Whether the assistant lives in WhatsApp, and with which account."""

import sys
from collections.abc import Iterable
from contextlib import aclosing
from importlib import metadata
from typing import Final

import anyio

from nanoclaw.channels.whatsapp import account
from nanoclaw.channels.whatsapp.requirement import VERSION, lack
from nanoclaw.config import command_environment
from nanoclaw.errors import ChannelUnavailable, SandboxError
from nanoclaw.sandbox.process import command_lines
from nanoclaw.setup.settings_file import change_settings
from nanoclaw.setup.step import Setup
from nanoclaw.setup.talk import Finding, Option, Progress

_INSTALL_SECONDS: Final = 900.0  # 60 MB over a bad line
_NUMBERS: Final = (
    Option(value="own", text="a number of its own: it is a contact like any other (a second phone or SIM)"),
    Option(value="shared", text="your own number: its answers come from you, and begin with its name"),
)
_WAYS: Final = (
    Option(value="qr", text="scan a QR code with the phone"),
    Option(value="code", text="type a code on the phone"),
)


class WhatsApp:
    """The linked account, or the decision to do without."""

    name = "whatsapp"
    title = "WhatsApp"

    def look(self, setup: Setup) -> Finding:
        """An account is linked and can be used; or nobody wants one."""
        wanted = setup.talk.given("whatsapp")
        if not setup.settings.whatsapp.enabled:
            refused = wanted == "no" or (wanted is None and setup.memory.recall("whatsapp") is False)
            done = refused or (wanted is None and not setup.talk.asks)
            return Finding(done=done, what="not used: you talk to it on this machine" if done else "not connected yet")
        if wanted == "no":
            return Finding(done=False, what="it is switched on")
        linked = account.load(setup.home.whatsapp)
        if linked is None:
            return Finding(done=False, what="no account is linked yet")
        if missing := lack():
            return Finding(done=False, what=missing.what, hint=missing.hint)
        return Finding(done=True, what=f"linked as +{linked.phone}")

    def needs(self, setup: Setup) -> Iterable[str]:
        """Whose number it is, if WhatsApp is wanted."""
        if setup.talk.given("whatsapp") == "yes" and not self.look(setup).done and setup.talk.given("number") is None:
            yield "--number own or shared"

    def do(self, setup: Setup) -> None:
        """Ask whether; install what is missing; link."""
        setup.talk.say("The assistant can live in WhatsApp. Without, you talk to it in this terminal and in a browser.")
        wanted = setup.talk.confirm("whatsapp", "Connect WhatsApp?", default=True)
        setup.memory.remember(whatsapp=wanted)
        if not wanted:
            change_settings(setup.home, {"whatsapp.enabled": False})
            return
        _install(setup)
        if account.load(setup.home.whatsapp) is None:
            _link(setup)
        change_settings(setup.home, {"whatsapp.enabled": True})


def _install(setup: Setup) -> None:
    """Bring the library; what only an administrator can install is told."""
    missing = lack()
    if missing and not _has_library():
        if not setup.talk.confirm("install", f"{missing.what}. Install it now (some 60 MB)?", default=True):
            raise ChannelUnavailable(missing.what, missing.hint)
        with setup.talk.progress("Installing WhatsApp support") as progress:
            anyio.run(_pip, progress)
        missing = lack()
    if missing:
        raise ChannelUnavailable(missing.what, missing.hint)


def _has_library() -> bool:
    try:
        return metadata.version("neonize") == VERSION
    except metadata.PackageNotFoundError:
        return False


async def _pip(progress: Progress) -> None:
    marker = "extra == 'whatsapp'"
    wanted = [each.partition(";")[0].strip() for each in metadata.requires("nanoclaw") or () if marker in each]
    options = ("--disable-pip-version-check", "--progress-bar", "off")
    argv = (sys.executable, "-m", "pip", "install", *options, *wanted)
    try:
        async with aclosing(command_lines(argv, command_environment(), _INSTALL_SECONDS)) as lines:
            async for line in lines:
                progress.line(line)
    except SandboxError as error:
        raise ChannelUnavailable(f"WhatsApp support cannot be installed: {error}", error.hint) from error


def _link(setup: Setup) -> None:
    number = setup.talk.choose("number", "Which WhatsApp number will it use?", _NUMBERS)
    change_settings(setup.home, {"whatsapp.shared_number": number == "shared"})
    phone = setup.talk.given("phone")
    if phone is None and setup.talk.choose("link", "How will you link it?", _WAYS, "qr") == "code":
        phone = setup.talk.ask("phone", "The phone's number, with country code", None, no_phone)
    setup.talk.link_whatsapp(setup.home, phone)


def no_phone(answer: str) -> str:
    """What is wrong with a phone number, for people; empty: nothing."""
    digits = [character for character in answer if character.isdigit()]
    if answer.strip("+ -()./0123456789") or not 6 <= len(digits) <= 15:
        return "write it with its country code: +49 151 12345678"
    return ""
