"""What goes wrong with WhatsApp: nothing is lost and nothing is said twice, as counted by the fake server.

One server, one linked account (Andy) and one person (Bob) for the whole file; each test connects anew.
The one that ends its session for good links somebody of its own.
"""

import os
import random
import signal
import sqlite3
from collections.abc import AsyncGenerator, Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import anyio
import pytest

from nanoclaw.channels.base import Outbound
from nanoclaw.channels.whatsapp.channel import Patience
from nanoclaw.channels.whatsapp.protocol import UNREADABLE
from nanoclaw.config import Home, Settings
from nanoclaw.errors import ChannelUnavailable, DeliveryUnknown, UsageError
from nanoclaw.model import InboundMessage, InboundReceipt, Jid
from tests.fakes.whatsapp import Device, FakeWhatsApp, Group, Peer
from tests.integration.whatsapp_rig import QUICK, Rig, link

pytestmark = pytest.mark.anyio

STREAMED = 30  # messages each way while workers are killed


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the file, in which the server lives."""
    return "asyncio"


@pytest.fixture(scope="module")
async def wa(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[FakeWhatsApp]:
    async with FakeWhatsApp(tmp_path_factory.mktemp("whatsapp")) as server:
        server.expect_unknown("w:g2/participating")  # asked by a device in the moment in which it is logged out
        yield server


@pytest.fixture(scope="module")
async def bob(wa: FakeWhatsApp) -> Peer:
    return await wa.peer(wa.account("15550002", "Bob"))


@pytest.fixture(scope="module")
def family(wa: FakeWhatsApp, bob: Peer) -> Group:
    return wa.create_group("Family", by=bob.account, members=[wa.account("15550001", "Andy")])


@pytest.fixture(scope="module")
async def linked(wa: FakeWhatsApp, family: Group, tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Device]:
    home = Home(tmp_path_factory.mktemp("home"))
    return home, await link(wa, home, Settings(whatsapp=QUICK), wa.account("15550001"))


@pytest.fixture
def device(linked: tuple[Home, Device]) -> Device:
    return linked[1]


@pytest.fixture
def rig(wa: FakeWhatsApp, linked: tuple[Home, Device], family: Group) -> Rig:
    rig = Rig(wa, linked[0], Settings(whatsapp=QUICK))
    rig.follow(family.jid)
    return rig


async def send_surely(rig: Rig, chat: str, text: str, key: str) -> str:
    """As the outbox does: again under the same key, while it is unavailable."""
    while True:
        try:
            return (await rig.channel.send(Jid(chat), Outbound(key=key, text=text))).platform_id
        except ChannelUnavailable:
            await rig.state("connected")
            await anyio.sleep(0.05)


async def test_what_came_while_we_were_away_comes_at_the_next_start(rig: Rig, bob: Peer, family: Group) -> None:
    async with rig.connected():
        pass
    for number in range(5):
        await bob.send_text(family, f"away {number}")
    async with rig.connected():
        await rig.until(lambda: len(rig.texts()) >= 5)
    assert rig.texts() == [f"away {number}" for number in range(5)]


async def test_a_cut_connection_comes_back_by_itself_and_loses_nothing(
    wa: FakeWhatsApp, rig: Rig, device: Device, bob: Peer, family: Group
) -> None:
    async with rig.connected():
        device.drop()
        await bob.send_text(family, "after the cut")
        await rig.next(InboundMessage, text="after the cut")
        device.drop_after(received=1, tag="message")
        ext_id = await send_surely(rig, family.jid, "its ack was lost", "cut-ack")
        heard = await bob.next_message(text="its ack was lost")
        assert heard.id == ext_id
        device.drop_after(received=1, tag="message", mid_frame=True)
        await send_surely(rig, family.jid, "cut in the middle", "cut-frame")
        await bob.next_message(text="cut in the middle")
    texts = [message.text for message in bob.heard]
    assert texts.count("its ack was lost") == 1
    assert texts.count("cut in the middle") == 1


async def test_a_server_that_restarts_is_found_again(wa: FakeWhatsApp, rig: Rig, bob: Peer, family: Group) -> None:
    async with rig.connected():
        await wa.restart()
        await bob.wait_online()
        await bob.send_text(family, "after the restart")
        await rig.next(InboundMessage, text="after the restart")
        await send_surely(rig, family.jid, "I am back", "restart-1")
        await bob.next_message(text="I am back")


async def test_a_server_that_is_away_at_the_start_is_tried_again(wa: FakeWhatsApp, rig: Rig, bob: Peer) -> None:
    async with wa.refusing(), rig.channel.connect(rig.receive):
        state = await rig.state("unreachable")
        assert not state.connected
        assert "cannot be reached" in state.problem
        with pytest.raises(ChannelUnavailable):
            await rig.send("15550002@s.whatsapp.net", "anybody?", "unreachable-1")
        await wa.start()
        await rig.state("connected")
        await bob.wait_online()


async def test_an_acknowledgement_that_does_not_come_is_settled_by_a_receipt_and_nothing_is_doubled(
    wa: FakeWhatsApp, rig: Rig, device: Device, bob: Peer, family: Group
) -> None:
    rig.make(patience=Patience(send=2.0))
    async with rig.connected():
        device.hold_acks()
        with pytest.raises(ChannelUnavailable):
            await rig.send(family.jid, "unacknowledged", "held-1")
        ext_id = await send_surely(rig, family.jid, "unacknowledged", "held-1")
        device.release_acks()
        receipt = await rig.next(InboundReceipt, key="held-1")
        assert receipt.platform_id == ext_id
    await bob.next_message(text="unacknowledged")
    assert [message.text for message in bob.heard].count("unacknowledged") == 1


async def test_what_nobody_can_tell_about_is_unknown_and_not_repeated(
    wa: FakeWhatsApp, rig: Rig, device: Device, tmp_path: Path
) -> None:
    rig.make(patience=Patience(send=5.0))
    quiet = wa.account("15550301", "Mute")  # has no device that could send a receipt
    alone = wa.create_group("Alone", by=quiet, members=[wa.account("15550001")])
    async with rig.connected():
        device.hold_acks()
        with pytest.raises(ChannelUnavailable):
            await rig.send(alone.jid, "does anybody hear?", "nobody-1")
        await rig.state("connected")
        with pytest.raises(DeliveryUnknown):
            await send_surely(rig, alone.jid, "does anybody hear?", "nobody-1")
        device.release_acks()
    assert len(wa.sent_by(device, to=alone)) == 1


@pytest.mark.timeout(1500)
async def test_a_worker_killed_again_and_again_loses_and_doubles_nothing(
    rig: Rig, bob: Peer, family: Group, pytestconfig: pytest.Config
) -> None:
    count = pytestconfig.getoption("streamed") or STREAMED
    kills, unknown = await stream_both_ways(rig, bob, family, count)
    pytestconfig.get_terminal_writer().line(f"{count} messages each way, {kills} kills, {unknown} unknown")


async def stream_both_ways(rig: Rig, bob: Peer, family: Group, count: int) -> tuple[int, int]:
    """Send so many messages both ways while the worker is killed again and again: each arrives once, but for ours of
    which nobody can tell. Answers how often it was killed, and how many those are."""
    done = anyio.Event()
    kills = 0
    unknown: set[str] = set()

    async def ours() -> None:
        for number in range(count):
            try:
                await send_surely(rig, family.jid, f"ours {number}", f"stream-{count}-{number}")
            except DeliveryUnknown:
                unknown.add(f"ours {number}")

    async def theirs() -> None:
        for number in range(count):
            await bob.send_text(family, f"theirs {number}")

    async def kill() -> None:
        nonlocal kills
        while not done.is_set():
            with anyio.move_on_after(random.uniform(0.0, 1.5)):  # of streaming, each time
                await done.wait()
            kills += 1
            os.kill(int(rig.channel.state().facts["process"]), signal.SIGKILL)
            await rig.state("crashed", "connecting")
            await rig.state("connected")

    def streamed() -> list[str]:  # an earlier test's may come again
        return [text for text in rig.texts() if text.startswith("theirs ")]

    async with rig.connected():
        # The library loses keys when two that never wrote to each other begin at the same time.
        await bob.send_text(family, f"before {count}")
        await rig.next(InboundMessage, text=f"before {count}")
        await send_surely(rig, family.jid, f"before all {count}", f"stream-{count}-before")
        await bob.next_message(text=f"before all {count}")
        before = len(bob.heard)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kill)
            async with anyio.create_task_group() as streams:
                streams.start_soon(ours)
                streams.start_soon(theirs)
            done.set()
        await rig.until(lambda: len(streamed()) >= count)
        await send_surely(rig, family.jid, "the last", f"stream-{count}")
        await bob.next_message(text="the last")
    assert sorted(streamed()) == sorted(f"theirs {number}" for number in range(count))
    heard = [message.text for message in bob.heard[before:] if message.text.startswith("ours ")]
    assert len(unknown) <= kills
    assert heard == [f"ours {number}" for number in range(count) if f"ours {number}" not in unknown - set(heard)]
    return kills, len(unknown)


async def test_a_worker_that_hangs_is_ended_and_what_it_missed_comes(rig: Rig, bob: Peer, family: Group) -> None:
    rig.make(patience=Patience(hang=12.0))  # it shows every 5 s that it lives
    async with rig.connected():
        os.kill(int(rig.channel.state().facts["process"]), signal.SIGSTOP)
        await bob.send_text(family, "are you asleep?")
        await rig.next(InboundMessage, text="are you asleep?")
        assert rig.channel.state().facts["restarts"] == "1"


async def test_a_host_that_dies_before_it_has_stored_something_gets_it_again(
    rig: Rig, bob: Peer, family: Group
) -> None:
    async def die(_inbound: object) -> None:
        await anyio.sleep_forever()

    rig.also = die
    async with rig.connected():
        ext_id = await bob.send_text(family, "not stored yet")
        await rig.wa.until(lambda: bool(rig.wa.message(ext_id).confirmed), "the worker has it")
    assert rig.texts() == []
    rig.also = None
    async with rig.connected():
        await rig.next(InboundMessage, ext_id=ext_id)


async def test_a_reply_interrupted_by_the_hosts_death_is_answered_at_the_next_start_and_not_sent_twice(
    wa: FakeWhatsApp, rig: Rig, device: Device, bob: Peer, family: Group
) -> None:
    device.hold_acks()
    before = len(wa.sent_by(device, to=family))
    async with rig.connected():
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(rig.send, family.jid, "interrupted", "died-1")
                await wa.until(lambda: len(wa.sent_by(device, to=family)) > before, "it is on the wire")
                scope.cancel()
    device.release_acks()
    sent = wa.sent_by(device, to=family)[before]
    await wa.until(lambda: sent.receipts, "Bob has it")
    await bob.next_message(text="interrupted")
    rig.make()
    async with rig.connected():
        with suppress(DeliveryUnknown):  # the library may have confirmed Bob's receipt just as the worker ended
            assert await send_surely(rig, family.jid, "interrupted", "died-1") == sent.id
    assert wa.sent_by(device, to=family)[before:] == [sent]
    assert [message.text for message in bob.heard].count("interrupted") == 1


@contextmanager
def full_disk(rig: Rig, when: str) -> Generator[None]:
    """This change of the spool fails."""
    with closing(sqlite3.connect(rig.home.whatsapp / "spool.db", timeout=10)) as db:
        db.execute(f"CREATE TRIGGER full BEFORE {when} BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        yield
        db.execute("DROP TRIGGER full")


@pytest.mark.parametrize("privately", [False, True])
async def test_what_was_decrypted_and_cannot_be_stored_is_not_confirmed_and_comes_again(
    wa: FakeWhatsApp, rig: Rig, device: Device, bob: Peer, family: Group, privately: bool
) -> None:
    chat = device.account if privately else family
    rig.follow(bob.account.pn)
    async with rig.connected():
        with full_disk(rig, "INSERT ON event WHEN NEW.kind = 'message'"):
            ids = [await bob.send_text(chat, f"does not fit {number}") for number in range(3)]
            await rig.state("crashed")
            assert not any(wa.message(ext_id).confirmed for ext_id in ids)
        for number, ext_id in enumerate(ids):
            assert (await rig.next(InboundMessage, ext_id=ext_id)).text == f"does not fit {number}"


async def test_a_message_whose_keys_cannot_be_taken_back_is_told_of(
    wa: FakeWhatsApp, rig: Rig, bob: Peer, family: Group
) -> None:
    async with rig.connected():
        with closing(sqlite3.connect(rig.home.whatsapp / "session.db", timeout=10)) as library:
            for key in ("session", "sender"):
                library.execute(f"DROP TRIGGER nanoclaw_{key}")
            with full_disk(rig, "INSERT ON event WHEN NEW.kind = 'message'"):
                ext_id = await bob.send_text(family, "gone")
                await rig.state("crashed")
                assert not wa.message(ext_id).confirmed
        told = await rig.next(InboundMessage, ext_id=ext_id)
        assert (told.text, told.sender, told.chat) == (UNREADABLE, bob.account.pn, family.jid)


async def test_what_cannot_be_remembered_is_not_sent(
    wa: FakeWhatsApp, rig: Rig, device: Device, bob: Peer, family: Group
) -> None:
    async with rig.connected():
        before = len(wa.sent_by(device))
        with full_disk(rig, "UPDATE ON sent"), pytest.raises(ChannelUnavailable):
            await rig.send(family.jid, "unremembered", "full-1")
        assert len(wa.sent_by(device)) == before
        await send_surely(rig, family.jid, "unremembered", "full-1")
        await bob.next_message(text="unremembered")


async def test_a_connection_that_hears_nothing_is_replaced(rig: Rig, device: Device, bob: Peer, family: Group) -> None:
    rig.make(patience=Patience(quiet=1.0, answer=1.0))
    async with rig.connected():
        device.deafen()
        await bob.send_text(family, "can you hear me?")
        await rig.state("deaf", "connecting")
        await rig.next(InboundMessage, text="can you hear me?")


async def test_a_connection_that_answers_and_delivers_nothing_is_made_anew_when_nothing_comes_for_long(
    rig: Rig, device: Device, bob: Peer, family: Group
) -> None:
    rig.make(patience=Patience(silence=4.0))
    number = 0
    async with rig.connected():
        while rig.channel.state().facts["found deaf"] == "0":  # a slow machine makes it anew before there is anything
            number += 1
            device.deafen(answer_pings=True)
            await bob.send_text(family, f"kept back {number}")
            await rig.next(InboundMessage, text=f"kept back {number}")
    kept_back = [text for text in rig.texts() if text.startswith("kept back")]  # an earlier test's may come again
    assert kept_back == [f"kept back {each}" for each in range(1, number + 1)]


async def test_a_connection_that_brings_no_receipt_for_what_was_sent_is_made_anew(
    rig: Rig, device: Device, bob: Peer, family: Group
) -> None:
    rig.make(patience=Patience(echo=2.0))
    async with rig.connected():
        device.deafen(answer_pings=True)
        await send_surely(rig, family.jid, "do you get this?", "echo-1")
        await bob.send_text(family, "yes, and you?")
        await rig.next(InboundMessage, text="yes, and you?")
        receipt = await rig.next(InboundReceipt, key="echo-1")
        assert receipt.state == "device"


async def test_a_stanza_that_makes_the_library_panic_costs_one_worker(
    rig: Rig, device: Device, bob: Peer, family: Group
) -> None:
    async with rig.connected():
        device.garbage()
        await rig.state("crashed", "connecting")
        await bob.send_text(family, "still there?")
        await rig.next(InboundMessage, text="still there?")


async def test_restart_required_is_done_at_once(rig: Rig, device: Device) -> None:
    async with rig.connected():
        logins = device.logins
        device.restart_required()
        await rig.wa.until(lambda: device.logins > logins, "another login")
        await rig.state("connected")


async def test_one_session_has_one_worker(wa: FakeWhatsApp, rig: Rig, linked: tuple[Home, Device]) -> None:
    other = Rig(wa, linked[0], Settings(whatsapp=QUICK))
    async with rig.connected(), other.channel.connect(other.receive):
        assert not (await other.state("busy")).connected
        assert rig.channel.state().connected


@pytest.mark.parametrize(
    ("fault", "state", "word"), [("replace", "replaced", "stop the other"), ("outdated", "outdated", "update")]
)
async def test_what_only_a_person_can_mend_stops_and_says_what_to_do(
    rig: Rig, device: Device, fault: str, state: str, word: str
) -> None:
    async with rig.connected():
        getattr(device, fault)()
        told = await rig.state(state)
        assert not told.connected
        assert word in told.hint
        with pytest.raises(ChannelUnavailable):
            await rig.send("15550002@s.whatsapp.net", "hello?", "too-late")


async def test_a_ban_is_waited_out(rig: Rig, device: Device) -> None:
    async with rig.connected():
        logins = device.logins
        device.ban(code=101, seconds=3600)
        told = await rig.state("banned")
        assert "address book" in told.problem
        assert device.logins == logins
        link = rig.channel.link
        assert link.due is not None
        assert 3500 < (link.due - link.since).total_seconds() < 3700


async def test_after_a_logout_the_same_host_takes_the_new_link(wa: FakeWhatsApp, tmp_path: Path) -> None:
    account = wa.account("15550300", "Eve")
    rig = Rig(wa, Home(tmp_path / "home"), Settings(whatsapp=QUICK))
    rig.make(patience=Patience(link=0.1))
    device = await link(wa, rig.home, rig.settings, account)
    async with rig.connected():
        with pytest.raises(UsageError):
            await link(wa, rig.home, rig.settings, account)
        await rig.channel.refresh()  # what it asks at its start is answered
        device.log_out()
        assert "auth login" in (await rig.state("logged_out")).hint
        await link(wa, rig.home, rig.settings, account)
        await rig.state("connected")
