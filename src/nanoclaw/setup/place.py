"""Where everything is kept."""

from collections.abc import Iterable
from pathlib import Path

from nanoclaw.config import find_home
from nanoclaw.errors import ConfigError
from nanoclaw.initialise import initialise
from nanoclaw.setup.step import Setup
from nanoclaw.setup.talk import Finding


class Place:
    """The runtime directory."""

    name = "home"
    title = "Home"

    def look(self, setup: Setup) -> Finding:
        """It has a group `main`."""
        if setup.main is None:
            return Finding(done=False, what=f"nothing is in {setup.home.root} yet")
        return Finding(done=True, what=str(setup.home.root))

    def needs(self, setup: Setup) -> Iterable[str]:
        """Nothing: there is a usual place."""
        return ()

    def do(self, setup: Setup) -> None:
        """Ask where, unless somebody has said it; make it."""
        if not setup.chosen:
            setup.talk.say("Everything is kept in one directory: messages, memory, settings, sign-ins.")
            where = setup.talk.ask("home", "Which one?", str(setup.home.root), _unusable)
            setup.home = find_home(Path(where))
        try:
            initialise(setup.home)
        except OSError as error:
            what = f"{setup.home.root} cannot be made: {error.strerror}"
            raise ConfigError(what, "name a place that is yours: nanoclaw --home DIRECTORY setup") from error


def _unusable(answer: str) -> str:
    try:
        path = Path(answer).expanduser()
    except RuntimeError:
        return "there is no such user"
    return "" if path.is_dir() or not path.exists() else "that is a file"
