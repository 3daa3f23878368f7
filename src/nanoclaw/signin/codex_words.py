"""What `codex login` prints, read: where to go, which code to enter, why it failed. Pure."""

import re
from datetime import datetime, timedelta
from typing import Final

from nanoclaw.signin.events import SignInFailed, SignInStarted

_BROWSER_TIME: Final = timedelta(minutes=15)  # codex would wait for ever; whoever is not done by then went away
_DEVICE_TIME: Final = timedelta(minutes=15)  # when it does not say how long the code works

_ANSI: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_URL: Final = re.compile(r"^\s*(https?://\S+)\s*$", re.MULTILINE)
_CODE: Final = re.compile(r"^\s*([A-Z0-9]{3,}(?:-[A-Z0-9]{3,})+)\s*$", re.MULTILINE)
_MINUTES: Final = re.compile(r"expires in (\d+) minutes?")
_OPENING: Final = re.compile(r"^(?:Error logging in(?: with device code)?|Error): ")

_NETWORK: Final = "check the network of this machine; a proxy is taken from HTTPS_PROXY"
_AGAIN: Final = "begin again"
_NEW_CODE: Final = "begin again, and you get a new one"
_CAUSES: Final = (
    ("error sending request", "the sign-in service cannot be reached", _NETWORK),
    (
        "device code login is not enabled",
        "this sign-in service knows no codes",
        "allow device codes in the security settings of ChatGPT, or sign in without --device",
    ),
    ("device auth failed with status 4", "the code was refused, or its time is over", _NEW_CODE),
    ("timed out", "nobody entered the code while it worked", _NEW_CODE),
    ("with status 429", "the sign-in service says that there were too many attempts", "try again in some minutes"),
    ("status 5", "the sign-in service has trouble of its own", "try again in some minutes"),
    ("Address already in use", "another sign-in waits on this machine", "end it, or sign in with --device"),
)
"""What codex says, what it means, what to do; the first that is found counts."""


def plain(line: bytes) -> str:
    """A line without its colours."""
    return _ANSI.sub("", line.decode("utf-8", "replace"))


def read_start(text: str, now: datetime, *, device: bool) -> SignInStarted | None:
    """What the person is to do, once all of it was printed; None before."""
    urls, codes = _URL.findall(text), _CODE.findall(text)
    if not device:
        return SignInStarted(url=urls[0], code=None, expires_at=now + _BROWSER_TIME) if urls else None
    if not urls or not codes:
        return None
    minutes = _MINUTES.search(text)
    lifetime = timedelta(minutes=int(minutes[1])) if minutes else _DEVICE_TIME
    return SignInStarted(url=urls[0], code=codes[0], expires_at=now + lifetime)


def read_failure(text: str) -> SignInFailed:
    """Why it ended without a login."""
    for words, reason, hint in _CAUSES:
        if words in text:
            return SignInFailed(reason=reason, hint=hint)
    said = [line.strip() for line in text.splitlines() if line.strip()]
    last = _OPENING.sub("", said[-1])[:500] if said else "codex said nothing"
    return SignInFailed(reason=f"codex did not sign in: {last}", hint=_AGAIN)
