"""QR codes for terminals."""

from itertools import zip_longest
from typing import Final

_BORDER: Final = 2  # light modules around it: the standard wants four, scanners are content with two
_COLOURS: Final = "\x1b[38;5;16;48;5;231m"  # black on white, whatever the colours of the terminal are
_PLAIN: Final = "\x1b[0m"
_BLOCKS: Final = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}
"""Two modules one above the other, dark ones set."""


def qr_lines(text: str, width: int) -> list[str]:
    """The QR code of a text in lines for a terminal; none when it does not fit into `width` columns."""
    import segno  # every command would load it, and few show a code

    code = segno.make(text, error="l", micro=False)
    rows = [[int(module) for module in row] for row in code.matrix_iter(border=_BORDER)]
    if len(rows[0]) > width:
        return []
    blank = [0] * len(rows[0])
    pairs = zip_longest(rows[::2], rows[1::2], fillvalue=blank)
    return [
        _COLOURS + "".join(_BLOCKS[pair] for pair in zip(upper, lower, strict=True)) + _PLAIN for upper, lower in pairs
    ]
