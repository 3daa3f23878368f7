"""What is printed for people: names and prompts come from chats and agents, and a terminal obeys what it reads."""

from rich.console import Console, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from nanoclaw.formatting import printable


def say(text: object = "", *, end: str = "\n") -> None:
    """Print it without what a terminal would obey."""
    print(printable(str(text)), end=end)


class Table(RichTable):
    """A table whose cells are text and nothing else: no markup, no control characters."""

    def add_row(self, *cells: RenderableType | None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # no styles, no sections
        """Add a row; a text is shown as it stands."""
        super().add_row(*(Text(printable(cell)) if isinstance(cell, str) else cell for cell in cells))

    def show(self) -> None:
        """Print it."""
        Console().print(self)
