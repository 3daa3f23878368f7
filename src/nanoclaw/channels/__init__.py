"""Chat platforms. To add one: a file or folder here and a line in `CHANNELS`."""

from collections.abc import Callable
from typing import Final

from nanoclaw.channels.base import Channel
from nanoclaw.channels.local import LocalChannel

CHANNELS: Final[dict[str, Callable[[], Channel]]] = {
    "local": LocalChannel,
}
