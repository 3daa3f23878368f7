"""Guiding a person: at a terminal, or through a pipe that has the answers in lines."""

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from getpass import getpass

import anyio
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from nanoclaw.cli.auth_claude import subscription_token
from nanoclaw.cli.auth_codex import log_in
from nanoclaw.cli.setup_flags import Flags, picked
from nanoclaw.cli.whatsapp import lead_through_linking
from nanoclaw.config import Home
from nanoclaw.errors import UsageError
from nanoclaw.setup.talk import Check, Finding, Option
from nanoclaw.setup.talk import Progress as Advance


class Person(Flags):
    """A `Talk`."""

    asks = True

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self._console = Console(highlight=False)
        with suppress(ImportError):
            import readline  # noqa: F401  # pyright: ignore[reportUnusedImport]  # what is typed can be edited
        self._tty = sys.stdin.isatty() and sys.stdout.isatty()

    def begin(self, name: str, title: str, finding: Finding) -> None:
        """See `Talk.begin`."""
        self._console.print(Text.assemble(("\n→ ", "yellow"), (title, "bold"), f": {finding.what}"))

    def end(self, name: str, title: str, finding: Finding) -> None:
        """See `Talk.end`."""
        self._console.print(Text.assemble(("✓ ", "green"), (title, "bold"), f": {finding.what}"))
        if finding.hint:
            self._console.print(Text(f"    {finding.hint}", style="dim"))

    def say(self, text: str) -> None:
        """See `Talk.say`."""
        self._console.print(Text(text))

    def choose(self, flag: str, question: str, options: Sequence[Option], default: str | None = None) -> str:
        """See `Talk.choose`."""
        if (given := self.given_choice(flag, options)) is not None:
            return given
        self.say(question)
        for number, option in enumerate(options, 1):
            self.say(f"  {number}  {option.text}")
        usual = next((str(number) for number, option in enumerate(options, 1) if option.value == default), None)
        while True:
            answer = self._line("Number", usual)
            if (found := picked(answer, options)) is not None:
                return found
            self.say(f"Please type a number from 1 to {len(options)}.")

    def ask(self, flag: str, question: str, default: str | None = None, check: Check | None = None) -> str:
        """See `Talk.ask`."""
        if (given := self.given_text(flag, check)) is not None:
            return given
        while True:
            answer = self._line(question, default)
            wrong = check(answer) if check and answer else ""
            if answer and not wrong:
                return answer
            self.say(f"That will not do: {wrong}" if wrong else "Please type something.")

    def confirm(self, flag: str, question: str, *, default: bool) -> bool:
        """See `Talk.confirm`."""
        yes_no = (Option(value="yes", text="yes"), Option(value="no", text="no"))
        if (given := self.given_choice(flag, yes_no)) is not None:
            return given == "yes"
        while True:
            answer = self._line(f"{question} (yes/no)", "yes" if default else "no").casefold()
            if answer in ("yes", "y", "no", "n"):
                return answer.startswith("y")
            self.say("Please type yes or no.")

    def secret(self, what: str) -> str:
        """See `Talk.secret`."""
        with _told_when_ended(what):
            if sys.stdin.isatty():
                return getpass(f"{what} (not shown while you type): ").strip()
            return _read_line()

    @contextmanager
    def progress(self, title: str) -> Generator[Advance]:
        """See `Talk.progress`."""
        if not self._tty:
            self.say(f"{title} …")
            yield _Lines(partial(print, " ", flush=True))
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as bar:
            yield _Bar(bar, title, self._console.width)

    def sign_in_to_codex(self, home: Home, *, device: bool) -> None:
        """See `Talk.sign_in_to_codex`."""
        log_in(home, None, device=device)

    def claude_token(self, home: Home) -> str | None:
        """See `Talk.claude_token`."""
        return subscription_token(home) if sys.stdin.isatty() else None

    def link_whatsapp(self, home: Home, phone: str | None) -> None:
        """See `Talk.link_whatsapp`."""
        anyio.run(lead_through_linking, home, phone)

    def _line(self, question: str, default: str | None) -> str:
        with _told_when_ended(question):
            prompt = f"{question} [{default}]: " if default else f"{question}: "
            if self._tty:
                return input(prompt).strip() or default or ""
            print(prompt, end="", flush=True)
            answer = _read_line()
            print(answer)  # as a terminal would show it
            return answer or default or ""


class _Lines:
    """A `talk.Progress` that prints."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show

    def line(self, text: str) -> None:
        self._show(text)


class _Bar:
    """A `talk.Progress` in one line of a terminal."""

    def __init__(self, bar: Progress, title: str, width: int) -> None:
        self._bar = bar
        self._width = width
        self._task = bar.add_task(title, total=None)

    def line(self, text: str) -> None:
        if share := build_share(text):
            self._bar.update(self._task, completed=share, total=1.0)
        self._bar.update(self._task, description=_fitting(text, self._width))


def build_share(line: str) -> float | None:
    """How far a build has come by its own words: `STEP 3/12: …`; None where it does not say."""
    word, _, rest = line.partition(" ")
    done, slash, whole = rest.partition(":")[0].partition("/")
    if word != "STEP" or not slash or not (done.isdigit() and whole.isdigit()) or int(whole) == 0:
        return None
    return min(1.0, (int(done) - 1) / int(whole))


def _fitting(text: str, width: int) -> str:
    """The line beside spinner, bar and time; without what Rich takes for markup."""
    room = max(10, width - 40)
    return " ".join(text.split())[:room].replace("[", "(").replace("]", ")")


@contextmanager
def _told_when_ended(question: str) -> Generator[None]:
    try:
        yield
    except EOFError:
        print()
        what = f"there is nobody to ask: {question}"
        raise UsageError(what, "run it in a terminal, or say it by flags: nanoclaw setup --help") from None


def _read_line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.strip()
