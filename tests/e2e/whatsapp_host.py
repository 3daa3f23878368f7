"""`whatsapp_host.py LAUNCHER ARGUMENT...`: `nanoclaw ARGUMENT...`, with the fake server behind WhatsApp's channel.

LAUNCHER is the JSON of `FakeWhatsApp.launcher`. A process of its own, so that it can be killed.
"""

import json
import sys

from nanoclaw import channels
from nanoclaw.channels.base import Channel
from nanoclaw.channels.whatsapp.channel import WhatsAppChannel
from nanoclaw.cli import main
from nanoclaw.clock import Clock
from nanoclaw.config import Home, Settings

_, _LAUNCHER, *_ARGUMENTS = sys.argv


def _make(home: Home, settings: Settings, clock: Clock) -> Channel:
    return WhatsAppChannel(home, settings, clock, command=json.loads(_LAUNCHER))


channels.CHANNELS["whatsapp"] = _make
sys.argv = ["nanoclaw", *_ARGUMENTS]
main()
