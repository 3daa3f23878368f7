"""Which changes of the library's keys may not be on the disk yet."""

import threading

import pytest

from nanoclaw.channels.whatsapp.worker import underway as module
from nanoclaw.channels.whatsapp.worker.underway import Underway

_PATIENCE = 30.0


class Clock:
    def __init__(self) -> None:
        self.ms = 1000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def underway(clock: Clock) -> Underway:
    return Underway(clock)


def begin(underway: Underway, clock: Clock, at: int, ext_id: str, sender: str = "bob@lid") -> None:
    clock.ms = at
    underway.heard({"id": ext_id, "participant": sender})
    underway.begins(sender)


def test_with_the_only_message_all_that_has_changed_so_far_is_on_the_disk(underway: Underway, clock: Clock) -> None:
    begin(underway, clock, 1000, "a")
    clock.ms = 1020
    assert underway.safe_with("a") == 1021


def test_what_a_later_message_changes_is_not_on_the_disk_with_an_earlier(underway: Underway, clock: Clock) -> None:
    begin(underway, clock, 1000, "a")
    begin(underway, clock, 1010, "b")
    begin(underway, clock, 1020, "c")
    clock.ms = 1050
    assert underway.safe_with("a") == 1011
    underway.stored("b")
    assert underway.safe_with("b") == 1021
    assert underway.safe_with("c") == 1051


def test_no_two_messages_change_something_in_the_same_millisecond(clock: Clock) -> None:
    looks: list[int] = []

    def ticking() -> int:
        looks.append(clock.ms)
        clock.ms += len(looks) > 2
        return clock.ms

    underway = Underway(ticking)
    underway.heard({"id": "a", "from": "bob@lid"})
    underway.begins("bob@lid")
    assert clock.ms >= 1001
    assert len(looks) > 2


def test_messages_are_known_by_their_senders_and_those_that_are_not_decrypted_are_passed_over(
    underway: Underway, clock: Clock
) -> None:
    underway.heard({"id": "plain", "from": "news@newsletter"})
    underway.heard({"id": "a", "participant": "eve:3@lid", "from": "group@g.us"})
    begin(underway, clock, 1000, "b", "bob@lid")
    begin(underway, clock, 1010, "c", "eve:3@lid")
    assert underway.safe_with("b") == 1011


def test_what_comes_to_nothing_is_over_when_all_before_it_is(underway: Underway, clock: Clock) -> None:
    for number, ext_id in enumerate("abc"):
        begin(underway, clock, 1000 + 10 * number, ext_id)
    assert underway.over("b") is None
    assert underway.over("a") == 1021
    assert underway.over("a") is None
    clock.ms = 1100
    assert underway.over("c") == 1101
    assert underway.over("unheard of") is None


def in_thread(action: object) -> threading.Event:
    done = threading.Event()

    def work() -> None:
        action()  # pyright: ignore[reportCallIssue]  # a callable
        done.set()

    threading.Thread(target=work, daemon=True).start()
    return done


def test_we_encrypt_nothing_until_what_came_is_on_the_disk(underway: Underway, clock: Clock) -> None:
    begin(underway, clock, 1000, "a")
    order: list[str] = []

    def send() -> None:
        with underway.sending():
            order.append("encrypted")

    sent = in_thread(send)
    assert not sent.wait(0.2)
    order.append("stored")
    underway.stored("a")
    assert sent.wait(_PATIENCE)
    assert order == ["stored", "encrypted"]


def test_nothing_is_decrypted_until_what_we_send_is_encrypted(underway: Underway, clock: Clock) -> None:
    with underway.sending() as encrypted:
        decrypts = in_thread(lambda: begin(underway, clock, 1000, "a"))
        assert not decrypts.wait(0.2)
        encrypted()
        assert decrypts.wait(_PATIENCE)
        assert underway.safe_with("a") == 1001


def test_neither_waits_for_the_other_for_ever(
    underway: Underway, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STORE_SECONDS", 0.01)
    monkeypatch.setattr(module, "_ENCRYPT_SECONDS", 0.01)
    begin(underway, clock, 1000, "never stored")
    with underway.sending():
        begin(underway, clock, 1010, "a")
    assert underway.over("never stored") == 1011
