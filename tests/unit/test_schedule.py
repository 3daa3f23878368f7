"""When tasks are due: zones, clock changes, years."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoclaw.errors import ScheduleError
from nanoclaw.schedule import ScheduleType, first_due, missed, next_due, parse_schedule, upcoming

_ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Africa/Casablanca",
)


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def local_times(kind: ScheduleType, value: str, zone: str, since: str, count: int) -> list[str]:
    schedule = parse_schedule(kind, value, zone)
    due = first_due(schedule, at(since, zone))
    assert due is not None
    return [f"{moment.astimezone(ZoneInfo(zone)):%m-%d %H:%M%z}" for moment in upcoming(schedule, due, count)]


@pytest.mark.parametrize(
    ("zone", "since", "expected"),
    [
        ("Europe/Berlin", "2026-03-28T12:00", ["03-29 03:00+0200", "03-30 02:30+0200"]),
        ("Europe/Berlin", "2026-10-24T12:00", ["10-25 02:30+0200", "10-26 02:30+0100"]),
        ("America/New_York", "2027-03-13T12:00", ["03-14 03:00-0400", "03-15 02:30-0400"]),
        ("America/New_York", "2027-11-06T12:00", ["11-07 02:30-0500", "11-08 02:30-0500"]),
        ("Australia/Lord_Howe", "2028-09-30T12:00", ["10-01 02:30+1100", "10-02 02:30+1100"]),
    ],
)
def test_half_past_two_comes_once_a_day_whatever_the_clocks_do(zone: str, since: str, expected: list[str]) -> None:
    assert local_times("cron", "30 2 * * *", zone, since, 2) == expected


def test_every_five_minutes_stays_every_five_minutes_when_the_clocks_change() -> None:
    schedule = parse_schedule("cron", "*/5 * * * *", "Europe/Berlin")
    for day in ("2026-03-29T00:00", "2026-10-25T00:00"):
        due = first_due(schedule, at(day))
        assert due is not None
        moments = upcoming(schedule, due, 72)
        assert {later - earlier for earlier, later in pairwise(moments)} == {timedelta(minutes=5)}


@pytest.mark.parametrize("zone", _ZONES)
def test_a_daily_task_runs_once_on_every_day_of_five_years(zone: str) -> None:
    schedule = parse_schedule("cron", "30 2 * * *", zone)
    due = first_due(schedule, at("2026-01-01T00:00", zone))
    assert due is not None
    days = [moment.astimezone(ZoneInfo(zone)).date() for moment in upcoming(schedule, due, 5 * 365)]
    assert days == [days[0] + timedelta(days=number) for number in range(5 * 365)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-03-29T02:30:00", "2026-03-29T01:00:00+00:00"),
        ("2026-10-25T02:30:00", "2026-10-25T00:30:00+00:00"),
        ("2026-06-01T09:00", "2026-06-01T07:00:00+00:00"),
        ("2026-06-01T09:00:00+09:00", "2026-06-01T00:00:00+00:00"),
        ("2026-06-01T09:00:00Z", "2026-06-01T09:00:00+00:00"),
    ],
)
def test_once_is_a_local_time_or_an_instant(value: str, expected: str) -> None:
    schedule = parse_schedule("once", value, "Europe/Berlin")
    due = first_due(schedule, at("2026-01-01T00:00"))
    assert due is not None
    assert due == datetime.fromisoformat(expected)
    assert next_due(schedule, due, due) is None


def test_once_in_the_past_is_never_due() -> None:
    schedule = parse_schedule("once", "2026-01-01T09:00:00", "UTC")
    assert first_due(schedule, at("2026-01-01T09:00:01")) is None


def test_an_interval_does_not_drift_and_skips_what_it_missed() -> None:
    schedule = parse_schedule("interval", "90000", "UTC")
    start = at("2026-01-01T00:00")
    assert first_due(schedule, start) == start + timedelta(seconds=90)
    assert next_due(schedule, start, start + timedelta(seconds=0.7)) == start + timedelta(seconds=90)
    assert next_due(schedule, start, start + timedelta(seconds=200)) == start + timedelta(seconds=270)


def test_what_was_missed_is_listed_up_to_a_limit() -> None:
    schedule = parse_schedule("cron", "0 9 * * *", "UTC")
    due, now = at("2026-01-01T09:00"), at("2026-01-05T12:00")
    assert [moment.day for moment in missed(schedule, due, now, 10)] == [1, 2, 3, 4, 5]
    assert [moment.day for moment in missed(schedule, due, now, 2)] == [4, 5]


@pytest.mark.parametrize(
    ("kind", "value", "zone", "says"),
    [
        ("cron", "61 * * * *", "UTC", "Bad minute"),
        ("cron", "0 0 30 2 *", "UTC", "Bad day"),
        ("cron", "* * *", "UTC", "five fields"),
        ("cron", "0 0 * * * *", "UTC", "five fields"),
        ("cron", "", "UTC", "five fields"),
        ("interval", "soon", "UTC", "milliseconds"),
        ("interval", "-5", "UTC", "milliseconds"),
        ("interval", "0", "UTC", "1000"),
        ("interval", "9" * 15, "UTC", "out of bounds"),
        ("interval", "9" * 400, "UTC", "milliseconds"),
        ("once", "tomorrow", "UTC", "local time like"),
        ("once", "0001-01-01T00:00:00+14:00", "UTC", "out of bounds"),
        ("cron", "0 9 * * *", "Mars/Olympus", "IANA"),
        ("cron", "0 9 * * *", "../etc/passwd", "IANA"),
    ],
)
def test_a_wrong_schedule_says_what_would_be_right(kind: ScheduleType, value: str, zone: str, says: str) -> None:
    with pytest.raises(ScheduleError, match=says):
        parse_schedule(kind, value, zone)


@given(st.sampled_from(["cron", "interval", "once"]), st.text(max_size=40), st.sampled_from(_ZONES))
def test_any_text_is_a_schedule_or_refused(kind: ScheduleType, value: str, zone: str) -> None:
    try:
        schedule = parse_schedule(kind, value, zone)
    except ScheduleError:
        return
    first_due(schedule, at("2026-01-01T00:00"))


@given(
    st.sampled_from(["*/7 * * * *", "0 9 * * 1-5", "30 2 * * *", "@monthly", "15 */6 1,15 * *"]),
    st.sampled_from(_ZONES),
    st.integers(0, 10 * 365 * 24 * 3600),
)
def test_the_next_time_is_always_later(expression: str, zone: str, seconds: int) -> None:
    now = at("2025-01-01T00:00") + timedelta(seconds=seconds)
    schedule = parse_schedule("cron", expression, zone)
    due = next_due(schedule, now, now)
    assert due is not None
    assert due > now
