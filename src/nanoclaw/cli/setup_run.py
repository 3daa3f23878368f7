"""What `nanoclaw setup` does, around the guide: a beginning, an end, and a way back after every stop."""

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio

from nanoclaw.cli.page import page_address
from nanoclaw.cli.setup_person import Person
from nanoclaw.cli.setup_program import Program
from nanoclaw.config import USUAL_HOME, Home, find_home
from nanoclaw.errors import HostError, NanoclawError, UsageError, leaves
from nanoclaw.privacy import ROOT_HINT, is_root
from nanoclaw.setup.guide import STEPS, guide
from nanoclaw.setup.step import Setup


class SetupStopped(NanoclawError):
    """Somebody pressed Ctrl-C."""


def run_setup(home: Home, flags: Mapping[str, str], *, asks: bool, as_json: bool, key_fd: int | None) -> None:
    """Guide through the set-up of a home.

    Args:
        home: where it is to be, if nobody says otherwise.
        flags: answers, by question.
        asks: whether somebody is there to be asked.
        as_json: tell what happens in JSON.
        key_fd: the descriptor to read a key from.

    Raises:
        NanoclawError: it could not go on; the hint says how it can.
    """
    if asks and key_fd is not None:
        raise UsageError("--key-fd goes with --yes", "without it you are asked for the key")
    talk = Person(flags) if asks else Program(flags, as_json=as_json, key_fd=key_fd)
    _run(Setup(home, talk, chosen=home.root != USUAL_HOME.expanduser()), talk)


def _run(going: Setup, talk: Person | Program) -> None:
    if isinstance(talk, Person):
        talk.say(f"This sets up NanoClaw in {len(STEPS)} steps. Ctrl-C stops it; run again, it goes on where it was.\n")
        if is_root():
            talk.say(f"You are root here. It works, but better {ROOT_HINT}\n")
    try:
        guide(going)
    except KeyboardInterrupt:
        print(file=sys.stderr)  # the cursor stands behind a question
        raise _stopped(SetupStopped("stopped; what is done stays done"), going, talk) from None
    except (NanoclawError, BaseExceptionGroup) as error:
        ours = [leaf for leaf in leaves(error) if isinstance(leaf, NanoclawError)]
        if len(ours) < len(leaves(error)):
            raise
        raise _stopped(ours[0], going, talk) from error
    if isinstance(talk, Program):
        talk.finish()
    else:
        talk.say(f"\n{_farewell(going)}")


def _stopped(error: NanoclawError, going: Setup, talk: Person | Program) -> NanoclawError:
    """Every way to stop says where it goes on."""
    again = f"{_command(going.home)} setup"
    if isinstance(talk, Program):
        talk.fail(error, again)
    hint = f"{error.hint}\n  → `{again}` goes on here" if error.hint else f"`{again}` goes on here"
    error.hint = hint
    return error


def _command(home: Home) -> str:
    """How this program is called on this home, in a shell."""
    script = Path(sys.argv[0])
    program = "nanoclaw" if shutil.which("nanoclaw") == str(script) else str(script)
    if script.name == "__main__.py":
        program = f"{sys.executable} -m nanoclaw"
    return program if home == find_home(None) else f"{program} --home {shlex.quote(str(home.root))}"


def _farewell(going: Setup) -> str:
    """What to do next."""
    nanoclaw = _command(going.home)
    lines = ["All set up.", ""]
    if not anyio.run(_page, going.home):
        lines.append(f"  {nanoclaw} up          start the assistant, and talk to it here")
    else:
        lines.append(f"  {nanoclaw} page        the address of its page")
    lines += [
        f"  {nanoclaw} status      what it is doing",
        f"  {nanoclaw} doctor      what is wrong, and what mends it",
        f"  {nanoclaw} groups add  more chats",
    ]
    return "\n".join(lines)


async def _page(home: Home) -> str:
    try:
        return await page_address(home)
    except HostError:
        return ""
