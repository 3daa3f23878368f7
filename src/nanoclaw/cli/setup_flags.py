"""What the flags of `nanoclaw setup` say, and what an answer means."""

from collections.abc import Mapping, Sequence

from nanoclaw.errors import UsageError
from nanoclaw.setup.talk import Check, Option


class Flags:
    """What the flags of the command say."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def given(self, flag: str) -> str | None:
        """See `Talk.given`."""
        return self._values.get(flag)

    def given_choice(self, flag: str, options: Sequence[Option]) -> str | None:
        """A flag's value, as one of these by value or whole text: nobody looks at what a part would mean. Raises
        `UsageError`."""
        value = self.given(flag)
        if value is None:
            return None
        found = _named(value, options)
        if len(found) != 1:
            known = ", ".join(f"{option.value} ({option.text})" for option in options)
            raise UsageError(f"--{flag} is {value!r}", f"it can be: {known}")
        return found[0]

    def given_text(self, flag: str, check: Check | None) -> str | None:
        """A flag's value. Raises `UsageError` if it cannot be."""
        value = self.given(flag)
        if value is not None and check and (wrong := check(value)):
            raise UsageError(f"--{flag} is {value!r}", wrong)
        return value


def picked(answer: str, options: Sequence[Option]) -> str | None:
    """The option that a number, a value or a clear part of a text means."""
    word = answer.strip().casefold()
    if word.isascii() and word.isdigit() and 1 <= int(word) <= len(options):
        return options[int(word) - 1].value
    found = _named(word, options) or [option.value for option in options if word and word in option.text.casefold()]
    return found[0] if len(found) == 1 else None


def _named(answer: str, options: Sequence[Option]) -> list[str]:
    word = answer.casefold()
    return [option.value for option in options if word in (option.value.casefold(), option.text.casefold())]
