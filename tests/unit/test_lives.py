"""A crash loop stops itself, and nothing else does."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from nanoclaw.clock import iso
from nanoclaw.config import Home
from nanoclaw.errors import ConfigError, HostError, StoreError
from nanoclaw.lives import Life, Lives, crash_loop, stopped_itself

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
BOOT = "this start of the machine"


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "run").mkdir()
    return Home(tmp_path)


def lived(seconds_ago: float, end: str = "", boot: str = BOOT) -> Life:
    return Life(began=iso(NOW - timedelta(seconds=seconds_ago)), boot=boot, end=end)


def live(home: Home, clock: Clock, error: BaseException | None = None, *, ready: bool = True) -> None:
    """One life of the host."""
    lives = Lives(home, clock)
    with lives.life():
        if ready:
            lives.be_ready()
        if error:
            raise error


def crash(home: Home, clock: Clock, error: Exception | None = None) -> None:
    crashed = error or RuntimeError("a fault")
    with pytest.raises(type(crashed)):
        live(home, clock, crashed)


def test_the_fifth_crash_within_minutes_is_the_last(home: Home) -> None:
    clock = Clock()
    for _ in range(5):
        crash(home, clock)
        clock.time += timedelta(seconds=6)
    with pytest.raises(HostError, match=r"it ended 5 times since \w{3} 3\d Jan, .*RuntimeError: a fault") as refused:
        live(home, clock)
    assert "nanoclaw run --anyway" in refused.value.hint
    assert str(home.logs / "nanoclaw.log") in refused.value.hint
    assert "RuntimeError: a fault" in stopped_itself(home, clock.now())


def test_it_can_be_started_all_the_same_and_then_counts_anew(home: Home) -> None:
    clock = Clock()
    for _ in range(5):
        crash(home, clock)
    with pytest.raises(RuntimeError), Lives(home, clock, anyway=True).life():
        raise RuntimeError
    live(home, clock)


def test_a_clean_end_is_forgotten_with_all_before_it(home: Home) -> None:
    clock = Clock()
    for _ in range(4):
        crash(home, clock)
    live(home, clock)
    assert list(home.run.iterdir()) == []


def test_kills_as_tests_and_people_make_them_never_stop_a_host(home: Home) -> None:
    clock = Clock()
    killed: list[object] = []
    for _ in range(40):
        life = Lives(home, clock).life()
        life.__enter__()  # what it writes at its start is all that it ever writes
        killed.append(life)
        clock.time += timedelta(seconds=1)
    live(home, clock)


def test_a_host_that_dies_without_a_word_for_ever_is_stopped_too() -> None:
    silent = [lived(seconds_ago=2.0 * number) for number in range(50)][::-1]
    assert crash_loop(silent[1:], BOOT, NOW) == ""
    assert "killed, or ended without a word" in crash_loop(silent, BOOT, NOW)


def test_what_ended_before_the_machine_started_anew_or_long_ago_does_not_count() -> None:
    crashes = [lived(10, "RuntimeError: a fault") for _ in range(4)]
    assert crash_loop([*crashes, lived(9, "RuntimeError: a fault", boot="another")], BOOT, NOW) == ""
    assert crash_loop([lived(3600, "RuntimeError: a fault"), *crashes], BOOT, NOW) == ""
    assert crash_loop([lived(9, "RuntimeError: a fault"), *crashes], BOOT, NOW)


def test_what_it_says_before_it_is_ready_is_no_crash_and_afterwards_is(home: Home) -> None:
    clock = Clock()
    for _ in range(9):
        with pytest.raises(ConfigError):
            live(home, clock, ConfigError("a wrong file"), ready=False)
    assert list(home.run.iterdir()) == []
    for _ in range(5):
        crash(home, clock, StoreError("the disk is full"))
    with pytest.raises(HostError, match="the disk is full"):
        live(home, clock)


def test_being_told_to_end_is_no_crash(home: Home) -> None:
    clock = Clock()
    with pytest.raises(KeyboardInterrupt):
        live(home, clock, KeyboardInterrupt())
    assert list(home.run.iterdir()) == []


async def crash_late(lives: Lives) -> None:
    with lives.life():
        lives.be_ready()
        with anyio.fail_after(5):
            told = await lives.grow_old()
        assert re.match(r"the host ended unexpectedly, 1 times since \w{3} 3\d Jan, \d\d:\d\d \(", told)
        raise RuntimeError


@pytest.mark.anyio
async def test_a_life_that_is_old_enough_ends_the_count_and_tells_of_it(home: Home) -> None:
    clock = Clock()
    crash(home, clock)
    with pytest.raises(RuntimeError):
        await crash_late(Lives(home, clock, healthy_seconds=0.0))
    assert list(home.run.iterdir()) == []


def test_a_file_that_is_none_of_ours_keeps_no_host_from_starting(home: Home) -> None:
    for content in ("", "[1]", '{"a": 1}', json.dumps([{"began": "soon", "boot": "", "end": ""}])):
        (home.run / "lives.json").write_text(content, encoding="utf-8")
        live(home, Clock())
