"""From one step to the next."""

from collections.abc import Sequence
from typing import Final

from nanoclaw.errors import HostError, UsageError
from nanoclaw.setup.background import Background
from nanoclaw.setup.engine import Engine
from nanoclaw.setup.first_answer import FirstAnswer
from nanoclaw.setup.identity import Identity
from nanoclaw.setup.main_chat import MainChat
from nanoclaw.setup.other_groups import OtherGroups
from nanoclaw.setup.place import Place
from nanoclaw.setup.programs import Programs
from nanoclaw.setup.sign_in import SignIn
from nanoclaw.setup.step import Setup, Step
from nanoclaw.setup.whatsapp import WhatsApp

STEPS: Final[tuple[Step, ...]] = (
    Place(),
    Engine(),
    Programs(),
    SignIn(),
    Identity(),
    WhatsApp(),
    MainChat(),
    OtherGroups(),
    Background(),
    FirstAnswer(),
)


def guide(setup: Setup, steps: Sequence[Step] = STEPS) -> None:
    """Do whatever is not done, in order. May be broken off anywhere, and begun again.

    Raises:
        UsageError: nobody answers, and flags are missing: all of them are named.
        NanoclawError: a step cannot be done.
    """
    if not setup.talk.asks and (missing := [need for step in steps for need in step.needs(setup)]):
        raise UsageError(f"this must be said by a flag: {'; '.join(missing)}", "or leave out --yes, and be asked")
    for number, step in enumerate(steps, 1):
        found = step.look(setup)
        if not found.done:
            setup.talk.begin(step.name, f"{step.title} ({number} of {len(steps)})", found)
            step.do(setup)
            found = step.look(setup)
            if not found.done:
                raise HostError(f"{step.title} is not done yet: {found.what}", found.hint)
        setup.talk.end(step.name, step.title, found)
