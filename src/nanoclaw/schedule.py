"""When a task is due. Pure.

`cron` follows the wall clock of the task's zone: a time that a clock change skips comes at the first moment after the
gap, one that it repeats comes once (cronsim's rule, which is Debian cron's). `interval` counts from its own beginning
and does not drift. `once` is a local time, or an instant with an offset.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from nanoclaw.errors import ScheduleError

ScheduleType = Literal["cron", "interval", "once"]

LATE: Final = timedelta(minutes=1)
"""Later than this, a moment counts as missed: the host was away, or the machine slept."""
SHORTEST_INTERVAL: Final = timedelta(seconds=1)
LONGEST_INTERVAL: Final = timedelta(days=3660)
_LONGEST_CRON = 200  # characters; no expression that means anything is longer

_NICKNAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_CRON_HELP = 'five fields "minute hour day month weekday", e.g. "0 9 * * 1" for Mondays at 9:00'
_ONCE_HELP = 'a local time like "2026-01-31T09:00:00", or an instant with an offset like "2026-01-31T09:00:00+01:00"'


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A schedule that was checked. `timezone` is an IANA name."""

    type: ScheduleType
    value: str
    timezone: str


def parse_schedule(kind: ScheduleType, value: str, timezone: str) -> Schedule:
    """Check a schedule.

    Raises:
        ScheduleError: says what is wrong and what would be right.
    """
    zone = parse_timezone(timezone)
    if kind == "cron":
        _cron(value, datetime(2026, 1, 1, tzinfo=zone))
    elif kind == "interval":
        _interval(value)
    else:
        _once(value, zone)
    return Schedule(type=kind, value=value.strip(), timezone=timezone)


def parse_timezone(name: str) -> ZoneInfo:
    """The zone of that IANA name.

    Raises:
        ScheduleError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleError(
            f"the time zone {name[:60]!r} is unknown; use an IANA name such as Europe/Berlin"
        ) from error


def first_due(schedule: Schedule, now: datetime) -> datetime | None:
    """When a task made (or edited, or resumed) now is due for the first time; None: never, as it is past.

    Args:
        schedule: when.
        now: aware.
    """
    if schedule.type == "once":
        due = _once(schedule.value, parse_timezone(schedule.timezone))
        return due if due >= now else None
    return next_due(schedule, now, now)


def next_due(schedule: Schedule, due: datetime, now: datetime) -> datetime | None:
    """The first due instant after now, in UTC, given the one that has just come; None: it was the last.

    Args:
        schedule: when.
        due: the instant that has come; an interval goes on from there.
        now: aware, not before `due`.
    """
    if schedule.type == "once":
        return None
    if schedule.type == "interval":
        step = _interval(schedule.value)
        return (due + step * ((now - due) // step + 1)).astimezone(UTC)
    return next(_cron(schedule.value, now.astimezone(parse_timezone(schedule.timezone)))).astimezone(UTC)


def missed(schedule: Schedule, due: datetime, now: datetime, most: int) -> list[datetime]:
    """Every due instant from `due` to now, `due` first, the last `most` of them."""
    found = [due]
    while (following := next_due(schedule, found[-1], found[-1])) is not None and following <= now:
        found.append(following)
        del found[:-most]
    return found


def upcoming(schedule: Schedule, due: datetime, count: int) -> list[datetime]:
    """The next `count` due instants, `due` first."""
    found = [due]
    while len(found) < count and (following := next_due(schedule, found[-1], found[-1])) is not None:
        found.append(following)
    return found


def in_words(schedule: Schedule) -> str:
    """The schedule as people say it, e.g. `At 09:00 on Monday (Europe/Berlin)`."""
    if schedule.type == "interval":
        return f"every {_duration(_interval(schedule.value))}"
    zone = parse_timezone(schedule.timezone)
    if schedule.type == "once":
        return f"once, on {_once(schedule.value, zone).astimezone(zone):%Y-%m-%d at %H:%M} ({schedule.timezone})"
    return f"{_cron(schedule.value, datetime(2026, 1, 1, tzinfo=zone)).explain()} ({schedule.timezone})"


def _duration(step: timedelta) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        count, rest = divmod(step.total_seconds(), length)
        if count and not rest:
            return f"{int(count)} {unit}s" if count > 1 else unit
    return f"{step.total_seconds():g} seconds"


def _cron(expression: str, after: datetime) -> CronSim:
    text = _NICKNAMES.get(expression.strip().lower(), expression.strip())
    if len(text) > _LONGEST_CRON or len(text.split()) != 5:
        raise ScheduleError(f"the cron expression {expression[:60]!r} has not five fields; write {_CRON_HELP}")
    try:
        return CronSim(text, after)
    except CronSimError as error:
        raise ScheduleError(f"the cron expression {expression[:60]!r} is wrong: {error}; write {_CRON_HELP}") from error


def _interval(value: str) -> timedelta:
    text = value.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise ScheduleError(
            f"the interval {value[:60]!r} is no whole number; write milliseconds, e.g. 3600000 for an hour"
        )
    step = timedelta(milliseconds=int(text))
    if not SHORTEST_INTERVAL <= step <= LONGEST_INTERVAL:
        raise ScheduleError(
            f"the interval {text} ms is out of bounds; write 1000 (a second) to 316224000000 (ten years)"
        )
    return step


def _once(value: str, zone: ZoneInfo) -> datetime:
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError as error:
        raise ScheduleError(f"the time {value[:60]!r} is not understood; write {_ONCE_HELP}") from error
    try:
        return (moment if moment.tzinfo else _local(moment, zone)).astimezone(UTC)
    except OverflowError as error:
        raise ScheduleError(f"the time {value[:60]!r} is out of bounds; write {_ONCE_HELP}") from error


def _local(wall: datetime, zone: ZoneInfo) -> datetime:
    """A wall-clock time's instant: the first of two, and the end of the gap if a clock change skips it."""
    before, after = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if before >= after:  # not skipped: once, or twice with the first at fold 0
        return after
    old = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)
