"""From a runner's events to what a run came to. Pure."""

from dataclasses import dataclass
from typing import Final

from nanoclaw import events
from nanoclaw.errors import WireError
from nanoclaw.failures import Failure
from nanoclaw.model import TokenUsage

_MOST_BYTES: Final = 64 << 20
_STDERR_SHOWN: Final = 400
KILLED_STATUS: Final = 137


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """The runner said `done`. `text` is the agent's last output, as it came."""

    text: str
    session_id: str | None
    usage: TokenUsage


Outcome = Answered | Failure


class Hearing:
    """Takes a runner's lines one by one; `outcome` is there once the runner has said its last word."""

    def __init__(self) -> None:
        self.started = False
        self.outcome: Outcome | None = None
        self._text = ""
        self._usage = TokenUsage()
        self._left = _MOST_BYTES

    def take(self, line: bytes) -> events.Event:
        """One line of stdout.

        Raises:
            WireError: it is no event, comes before `started`, or is too much.
        """
        self._left -= len(line)
        if self._left < 0:
            raise WireError(f"the runner printed more than {_MOST_BYTES >> 20} MiB")
        event = events.parse_event(line)
        if not self.started and not isinstance(event, events.Started):
            raise WireError("the runner spoke before it said `started`")
        self._note(event)
        return event

    def _note(self, event: events.Event) -> None:
        match event:
            case events.Started():
                self.started = True
            case events.Output(text):
                self._text = text
            case events.UsageReport(usage):
                self._usage = usage
            case events.Done(session_id):
                self.outcome = Answered(text=self._text, session_id=session_id, usage=self._usage)
            case events.Failed(kind, text, retryable, resets_at):
                self.outcome = Failure(kind=kind, detail=text, retryable=retryable, resets_at=resets_at)
            case events.Activity():
                pass


def died(status: int, stderr: str) -> Failure:
    """The sandbox ended without a last word."""
    why = "killed, most likely for want of memory" if status == KILLED_STATUS else f"exit status {status}"
    tail = stderr.strip()[-_STDERR_SHOWN:]
    return Failure(kind="crashed", detail=f"{why}: {tail}" if tail else why, retryable=True)
