"""What went wrong, from what Codex says of it. Pure.

`codex exec` gives sentences only, with the HTTP status where its authors kept it; so the status decides where there is
one, and fixed parts of its own sentences where there is none. What is not known is `crashed`, which is tried again.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from nanoclaw.wire import Failed, FailureKind
from nanoclaw_runner.events import failed, kind_of_status

_STATUS: Final = re.compile(r"(?:unexpected status|last status:) (\d{3})\b")
_RENEWAL: Final = "/oauth/token)"
"""How the address ends at which a Codex that was refused has tried to renew its login."""
_SENTENCES: Final[tuple[tuple[str, FailureKind], ...]] = (
    ("hit your usage limit", "usage_limit"),
    ("Quota exceeded", "billing"),
    ("could not be refreshed", "auth"),
    (_RENEWAL, "auth"),  # the model server refused the login, and only the host can renew it
    ("high demand", "overloaded"),
    ("at capacity", "overloaded"),
    ("context window", "context_too_long"),
    ("Failed to refresh token", "network"),
    ("stream disconnected before completion", "network"),
    ("Connection failed", "network"),
    ("error sending request", "network"),
    ("timed out", "network"),
)
_API_CODES: Final[dict[str, FailureKind]] = {
    "model_not_found": "model_not_found",
    "context_length_exceeded": "context_too_long",
    "insufficient_quota": "billing",
}
_RESET: Final = re.compile(
    r"try again at (?:(?P<day>[A-Z][a-z]{2} \d{1,2})[a-z]{2}, (?P<year>\d{4}) )?(?P<clock>\d{1,2}:\d{2} [AP]M)"
)
_URL: Final = re.compile(r", url: \S+$")
_CONFIG_COMPLAINT: Final = "Error loading config.toml:"


def failure_of_turn(text: str, now: datetime) -> Failed:
    """The event for a turn that Codex ended with an error.

    Args:
        text: `error.message` of `turn.failed`.
        now: the present, aware, in the zone that Codex writes its times in.
    """
    kind = classify(text)
    words = _api_error(text).get("message") or _URL.sub("", text).removeprefix("unexpected status ")
    if _RENEWAL in text:
        words = "the access token was not accepted"
    return failed(kind, words, resets_at(text, now) if kind == "usage_limit" else None)


def failure_of_process(status: int, stderr: str) -> Failed:
    """The event for a Codex that ended without a word on how its turn went.

    Args:
        status: the exit status; negative: the signal that ended it.
        stderr: the last that it wrote there.
    """
    if status == 0:
        return failed("no_answer", "Codex ended without an answer")
    _, complaint, rest = stderr.partition(_CONFIG_COMPLAINT)
    if complaint:
        return failed("bad_request", f"Codex does not accept its configuration: {' '.join(rest.split())}")
    last = stderr.splitlines()[-1] if stderr else "it said nothing"
    return failed("crashed", f"Codex ended with status {status}: {last}")


def classify(text: str) -> FailureKind:
    """What kind of failure a sentence of Codex tells of."""
    if status := _STATUS.search(text):
        return kind_of_status(int(status[1]), text)
    if code := _API_CODES.get(_api_error(text).get("code", "")):
        return code
    for words, kind in _SENTENCES:
        if words in text:
            return kind
    return "bad_request" if _api_error(text) else "crashed"


def resets_at(text: str, now: datetime) -> str | None:
    """When a usage limit ends, as an ISO 8601 instant, if the sentence says so: `… try again at 9:49 AM.`

    The sentence leaves the seconds away, so it is over for certain when that minute is.
    """
    found = _RESET.search(text)
    if not found:
        return None
    day = f"{found['day']} {found['year']}" if found["day"] else now.strftime("%b %d %Y")
    moment = datetime.strptime(f"{day} {found['clock']}", "%b %d %Y %I:%M %p")  # noqa: DTZ007  # its zone comes next
    return (moment.replace(tzinfo=now.tzinfo) + timedelta(minutes=1)).astimezone(UTC).isoformat()


def _api_error(text: str) -> dict[str, str]:
    """`error` of the API's own answer, which Codex passes on as it came for a status of 400."""
    try:
        body: Any = json.loads(text)
    except ValueError:
        return {}
    match body:
        case {"error": {"message": str(message), **error}}:
            return {"message": message, "code": str(error.get("code"))}
        case _:
            return {}
