"""Chat platforms. To add one: a file or folder here and a line in `CHANNELS`."""

from collections.abc import Callable
from typing import Final

from nanoclaw.channels.base import Channel
from nanoclaw.channels.local import LocalChannel
from nanoclaw.clock import Clock
from nanoclaw.config import Home, Settings

Make = Callable[[Home, Settings, Clock], Channel | None]
"""Makes a channel, or None where the settings have it switched off."""


def _local(_home: Home, _settings: Settings, _clock: Clock) -> Channel:
    return LocalChannel()


def _whatsapp(home: Home, settings: Settings, clock: Clock) -> Channel | None:
    if not settings.whatsapp.enabled:
        return None
    from nanoclaw.channels.whatsapp.channel import WhatsAppChannel  # costs nothing where it is not wanted

    return WhatsAppChannel(home, settings, clock)


CHANNELS: Final[dict[str, Make]] = {
    "local": _local,
    "whatsapp": _whatsapp,
}


def make_channels(home: Home, settings: Settings, clock: Clock) -> list[Channel]:
    """Every channel that the settings want."""
    made = [make(home, settings, clock) for make in CHANNELS.values()]
    return [channel for channel in made if channel is not None]
