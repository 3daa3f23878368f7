"""The fake WhatsApp server with real clients: what it carries, what it records, and each of its faults.

One server and two people for the whole file; a test that ends a client for good takes somebody of its own.
"""

import itertools
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from tests.fakes.whatsapp import ExpiredCode, FakeWhatsApp, Group, Peer, PeerError

pytestmark = pytest.mark.anyio

MEDIA = bytes(range(256)) * 1200  # 300 kB
ORDERED = 300
_phones = map(str, itertools.count(15550100))


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the file, in which the server lives."""
    return "asyncio"


@pytest.fixture(scope="module")
async def wa(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[FakeWhatsApp]:
    async with FakeWhatsApp(tmp_path_factory.mktemp("whatsapp")) as server:
        yield server


@pytest.fixture(scope="module")
async def people(wa: FakeWhatsApp) -> dict[str, Peer]:
    """Alice and Bob, each at a client of their own."""
    found: dict[str, Peer] = {}

    async def meet(name: str, phone: str) -> None:
        found[name] = await wa.peer(wa.account(phone, name))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(meet, "Alice", "15550001")
        tasks.start_soon(meet, "Bob @ home", "15550002")
    return found


@pytest.fixture(scope="module")
def alice(people: dict[str, Peer]) -> Peer:
    return people["Alice"]


@pytest.fixture(scope="module")
def bob(people: dict[str, Peer]) -> Peer:
    return people["Bob @ home"]


@pytest.fixture(scope="module")
async def family(alice: Peer, bob: Peer) -> Group:
    """A group of the two, made by Alice's client."""
    group = await alice.create_group("Family", [bob.account])
    await bob.next_event("joined_group")
    return group


async def newcomer(wa: FakeWhatsApp) -> Peer:
    phone = next(_phones)
    return await wa.peer(wa.account(phone, f"Newcomer {phone}"))


def bobs(bob: Peer) -> str:
    assert bob.device is not None
    return bob.device.address


# what it carries


async def test_a_direct_message_arrives_with_both_addresses_of_its_sender(
    wa: FakeWhatsApp, alice: Peer, bob: Peer
) -> None:
    id = await alice.send_text(bob.account, "hello")
    heard = await bob.next_message("hello")
    assert (heard.id, heard.name, heard.is_group, heard.from_me) == (id, "Alice", False, False)
    assert (heard.sender, heard.sender_alt) == (alice.account.lid, alice.account.pn)
    record = wa.message(id)
    await wa.until(lambda: record.confirmed, "the delivery receipt")
    assert (record.sent, record.acked, record.bot, record.delivered) == (1, True, True, {bobs(bob): 1})


async def test_direct_messages_can_come_by_phone_number(wa: FakeWhatsApp, alice: Peer, bob: Peer) -> None:
    wa.world.direct_addressing = "pn"
    try:
        await alice.send_text(bob.account, "by number")
        heard = await bob.next_message("by number")
    finally:
        wa.world.direct_addressing = "lid"
    assert (heard.chat, heard.sender_alt) == (alice.account.pn, alice.account.lid)


async def test_a_reply_quotes_what_it_answers(alice: Peer, bob: Peer) -> None:
    id = await alice.send_text(bob.account, "a question")
    await bob.reply(await bob.next_message("a question"), "an answer")
    answer = await alice.next_message("an answer")
    assert (answer.quoted_id, answer.quoted_text, answer.name) == (id, "a question", "Bob @ home")


async def test_group_messages_go_both_ways(wa: FakeWhatsApp, alice: Peer, bob: Peer, family: Group) -> None:
    await alice.send_text(family, f"you there, @{bob.account.phone}?", mentions=[bob.account])
    heard = await bob.next_message(chat=family)
    assert (heard.is_group, heard.sender, heard.mentions) == (True, alice.account.lid, [bob.account.lid])
    id = await bob.send_text(family, "yes")
    assert (await alice.next_message("yes", chat=family)).id == id
    assert wa.sent_by(bob.account, to=family)[-1] is wa.message(id)


async def test_reactions_edits_and_deletions_name_their_message(alice: Peer, bob: Peer, family: Group) -> None:
    id = await alice.send_text(family, "a plan")
    plan = await bob.next_message("a plan")
    await bob.react(plan, "👍")
    reaction = await alice.next_message(kind="reaction")
    assert (reaction.target, reaction.text) == (id, "👍")
    await alice.edit(family, id, "a better plan")
    edit = await bob.next_message(kind="edit")
    assert (edit.target, edit.text) == (id, "a better plan")
    assert edit.id != id
    await alice.revoke(family, id)
    assert (await bob.next_message(kind="revoke")).target == id


async def test_any_content_can_be_sent_in_its_wrappers(alice: Peer, bob: Peer) -> None:
    wrapped = {"ephemeralMessage": {"message": {"extendedTextMessage": {"text": "soon gone"}}}}
    await alice.send(bob.account, wrapped)
    assert (await bob.next_message("soon gone")).kind == "text"


async def test_files_arrive_as_they_were_sent(alice: Peer, bob: Peer, family: Group) -> None:
    await alice.send_document(bob.account, MEDIA, "plan.bin", caption="the plan")
    document = await bob.next_message(kind="document")
    assert (document.filename, document.text, document.size) == ("plan.bin", "the plan", len(MEDIA))
    assert await bob.download(document) == MEDIA
    await bob.send_image(family, MEDIA[:1000], caption="look")
    image = await alice.next_message("look", kind="image")
    assert (await alice.download(image), image.mime) == (MEDIA[:1000], "image/png")
    await bob.send_voice(alice.account, MEDIA[:2000], seconds=3)
    voice = await alice.next_message(kind="voice")
    assert (await alice.download(voice), voice.content["audioMessage"]["PTT"]) == (MEDIA[:2000], True)


async def test_receipts_and_typing_reach_the_other(wa: FakeWhatsApp, alice: Peer, bob: Peer, family: Group) -> None:
    id = await alice.send_text(bob.account, "read me")
    await bob.mark_read(await bob.next_message("read me"))
    assert (await alice.next_event("receipt", type="read"))["ids"] == [id]
    both = {"inactive", "read"}  # the library sends the first beside everything else
    await wa.until(lambda: {receipt.type for receipt in wa.message(id).receipts} == both, "both receipts")
    assert len(wa.message(id).receipts) == len(both)
    await bob.typing(family)
    assert (await alice.next_event("chatstate", state="composing"))["chat"] == family.jid
    await bob.typing(family, on=False)
    await alice.next_event("chatstate", state="paused")
    assert [notice.state for notice in wa.chatstates[-2:]] == ["composing", "paused"]


async def test_members_hear_of_every_change_of_their_group(wa: FakeWhatsApp, alice: Peer, bob: Peer) -> None:
    guest = wa.account(next(_phones), "Guest")
    group = wa.create_group("Trip", by=alice.account, members=[bob.account])
    await bob.next_event("joined_group")
    await alice.rename_group(group, "Trip @ sea")
    assert (await bob.next_event("group"))["Name"]["Name"] == group.subject == "Trip @ sea"
    await alice.add_member(group, guest)
    assert (await bob.next_event("group"))["Join"][0]["User"] == guest.lid.partition("@")[0]
    await alice.remove_member(group, guest)
    assert (await bob.next_event("group"))["Leave"][0]["User"] == guest.lid.partition("@")[0]
    group.set_expiration(86400, by=alice.account)
    assert (await bob.next_event("group"))["Ephemeral"]["DisappearingTimer"] == 86400
    group.remove(bob.account, by=alice.account)
    assert (await bob.next_event("group"))["Leave"][0]["User"] == bob.account.lid.partition("@")[0]
    with pytest.raises(PeerError):
        await bob.send_text(group, "still here?")


async def test_two_devices_of_one_account_get_everything_until_one_is_logged_out(
    wa: FakeWhatsApp, alice: Peer, bob: Peer, family: Group
) -> None:
    tablet = await wa.peer(bob.account)
    assert [device.number for device in bob.account.devices] == [1, 2]
    direct = await alice.send_text(bob.account, "to both")
    assert (await bob.next_message("to both")).id == (await tablet.next_message("to both")).id == direct
    await alice.send_text(family, "to all")
    await bob.next_message("to all")
    await tablet.next_message("to all")
    await bob.send_text(alice.account, "from my phone")
    copy = await tablet.next_message("from my phone")
    assert (copy.from_me, copy.chat) == (True, alice.account.lid)
    await alice.next_message("from my phone")
    bob.account.devices[1].log_out()
    await tablet.next_event("logged_out")
    assert bob.account.device is bob.device
    await tablet.kill()


async def test_three_hundred_messages_arrive_once_and_in_order(
    wa: FakeWhatsApp, alice: Peer, bob: Peer, family: Group
) -> None:
    ids = [await alice.send_text(family, f"number {number}") for number in range(ORDERED)]
    heard = [await bob.next_message(lambda text: text.startswith("number")) for _ in range(ORDERED)]
    assert [message.text for message in heard] == [f"number {number}" for number in range(ORDERED)]
    assert all(wa.message(id).delivered == {bobs(bob): 1} for id in ids)


# coming and going


async def test_what_was_sent_to_somebody_away_waits_in_order(
    wa: FakeWhatsApp, alice: Peer, bob: Peer, family: Group
) -> None:
    assert bob.device is not None
    await bob.kill()
    await bob.device.wait_offline()
    for number in range(5):
        await alice.send_text(family, f"while away {number}")
    await bob.start()
    heard = [await bob.next_message(lambda text: text.startswith("while")) for _ in range(5)]
    assert [message.text for message in heard] == [f"while away {number}" for number in range(5)]
    await bob.next_event("offline_done")
    await wa.until(lambda: bob.device is not None and not bob.device.waiting, "everything is confirmed")


async def test_a_server_that_restarts_forgets_nothing(wa: FakeWhatsApp, alice: Peer, bob: Peer) -> None:
    assert alice.device is not None
    assert bob.device is not None
    logins = alice.device.logins, bob.device.logins
    await wa.restart()
    await alice.device.wait_online(logins[0] + 1)
    await bob.device.wait_online(logins[1] + 1)
    await alice.send_text(bob.account, "after the restart")
    await bob.next_message("after the restart")


async def test_a_connection_is_cut_in_the_midst_of_a_message_and_it_comes_again(
    wa: FakeWhatsApp, alice: Peer, bob: Peer
) -> None:
    assert bob.device is not None
    logins = bob.device.logins
    bob.device.drop_after(sent=1, tag="message", mid_frame=True)
    id = await alice.send_text(bob.account, "torn")
    await bob.device.wait_online(logins + 1)
    assert (await bob.next_message("torn")).id == id
    assert wa.message(id).delivered == {bobs(bob): 1}


async def test_a_message_is_taken_and_the_connection_cut_before_the_answer(
    wa: FakeWhatsApp, alice: Peer, bob: Peer
) -> None:
    assert alice.device is not None
    alice.device.drop_after(received=1, tag="message")
    id = await alice.send_text(bob.account, "twice on the wire")
    assert (await bob.next_message("twice on the wire")).id == id
    await wa.until(lambda: wa.message(id).sent == 2, "the client has sent it again")
    assert [message.id for message in bob.heard].count(id) == 1


# faults


async def test_acks_are_withheld_and_released(wa: FakeWhatsApp, alice: Peer, bob: Peer) -> None:
    assert alice.device is not None
    alice.device.hold_acks()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(alice.send_text, bob.account, "no answer")
        record = wa.message((await bob.next_message("no answer")).id)
        assert not record.acked
        alice.device.release_acks()
    assert wa.sent_by(alice.account)[-1].acked


async def test_a_message_is_delivered_twice_as_it_is_and_again_under_new_encryption(
    wa: FakeWhatsApp, alice: Peer, bob: Peer
) -> None:
    assert bob.device is not None
    bob.device.deliver_twice()
    id = await alice.send_text(bob.account, "same")
    await wa.until(lambda: wa.message(id).delivered[bobs(bob)] == 2, "the copy is delivered")
    bob.device.ask_resend(wa.message(id))
    await wa.until(lambda: wa.message(id).delivered[bobs(bob)] == 3, "the sender sends again")
    assert (await bob.next_message("same")).id == (await bob.next_message("same")).id == id


async def test_a_group_message_is_sent_again_by_its_sender(
    wa: FakeWhatsApp, alice: Peer, bob: Peer, family: Group
) -> None:
    assert bob.device is not None
    id = await alice.send_text(family, "again please")
    await bob.next_message("again please")
    bob.device.ask_resend(wa.message(id))
    assert (await bob.next_message("again please")).id == id


async def test_a_deaf_connection_delivers_nothing_until_there_is_a_new_one(
    wa: FakeWhatsApp, alice: Peer, bob: Peer, family: Group
) -> None:
    assert bob.device is not None
    logins = bob.device.logins
    bob.device.deafen(answer_pings=True)
    id = await alice.send_text(bob.account, "unheard")
    await bob.rename_group(family, "Family again")  # is answered, so all before it would have come
    assert wa.message(id).delivered == {}
    bob.device.drop()
    await bob.device.wait_online(logins + 1)
    assert (await bob.next_message("unheard")).id == id


async def test_stanzas_are_delayed(wa: FakeWhatsApp, alice: Peer, bob: Peer) -> None:
    assert bob.device is not None
    bob.device.delay(0.5)
    sent = await alice.send_text(bob.account, "slow")
    assert wa.message(sent).delivered == {}
    await bob.next_message("slow")
    bob.device.delay(0)


async def test_refused_prekeys_keep_strangers_from_writing(wa: FakeWhatsApp, alice: Peer) -> None:
    stranger = await newcomer(wa)
    assert stranger.device is not None
    stranger.device.refuse_prekeys()
    unread = await alice.send_text(stranger.account, "no keys")
    stranger.device.refuse_prekeys(False)
    await alice.send_text(stranger.account, "keys")
    assert (await stranger.next_message()).text == "keys"
    assert wa.message(unread).delivered == {}
    await stranger.kill()


async def test_uploads_and_downloads_fail_when_told_so(wa: FakeWhatsApp, alice: Peer, bob: Peer) -> None:
    await alice.send_document(bob.account, b"data", "a")
    document = await bob.next_message(kind="document")
    wa.media.missing(5)
    with pytest.raises(PeerError):
        await bob.download(document)
    wa.media.missing(0)
    wa.media.reset(1)
    assert await bob.download(document) == b"data"


async def test_restart_required_is_obeyed_at_once(bob: Peer) -> None:
    assert bob.device is not None
    logins = bob.device.logins
    bob.device.restart_required()
    await bob.device.wait_online(logins + 1)


async def test_clients_are_banned_outdated_refused_and_replaced(wa: FakeWhatsApp) -> None:
    somebody = await newcomer(wa)
    assert somebody.device is not None
    somebody.device.ban(code=103, seconds=3600)
    ban = await somebody.next_event("banned")
    assert (ban["Code"], ban["Expire"]) == ("CREATED_TOO_MANY_GROUPS", "3600")
    await somebody.kill()
    somebody.device.outdated()
    await somebody.start()
    await somebody.next_event("outdated")
    await somebody.kill()
    somebody.device.fail_login(409)
    await somebody.start()
    await somebody.next_event("connect_failure")
    await somebody.kill()
    await somebody.start()
    await somebody.next_event("connected")
    somebody.device.replace()
    await somebody.next_event("replaced")
    await somebody.kill()


async def test_garbage_ends_the_client(wa: FakeWhatsApp) -> None:
    somebody = await newcomer(wa)
    assert somebody.device is not None
    somebody.device.garbage()
    await somebody.wait_ended()
    assert "panic" in somebody.log
    await somebody.kill()


# linking


async def test_a_code_that_ran_out_links_nobody_and_a_new_one_does(wa: FakeWhatsApp) -> None:
    account = wa.account(next(_phones), "Late")
    client = wa.unlinked_peer(account)
    await client.start()
    old = (await client.next_event("qr"))["code"]
    wa.expire_codes()
    await wa.until(lambda: not wa.world.unlinked, "the client is turned away")
    with pytest.raises(ExpiredCode):
        await wa.scan(old, account)
    await client.kill()
    await client.start()
    device = await wa.scan((await client.next_event("qr"))["code"], account)
    assert account.device is device
    await client.kill()


async def test_a_pair_code_links_as_a_qr_code_does(wa: FakeWhatsApp, alice: Peer) -> None:
    account = wa.account(next(_phones), "Code")
    client = wa.unlinked_peer(account)
    await client.start()
    await client.next_event("qr")
    code = await client.pair_code()
    await wa.enter_code(code, account)
    await client.next_event("connected")
    await alice.send_text(account, "welcome")
    await client.next_message("welcome")
    await client.kill()


async def test_a_session_linked_once_serves_other_servers(wa: FakeWhatsApp, tmp_path: Path) -> None:
    session = await wa.link_session(wa.account(next(_phones), "Kept"))
    async with FakeWhatsApp(tmp_path) as other:
        client = other.unlinked_peer(other.account(session.phone))
        client.device = other.adopt(session, client.database)
        await client.start()
        await client.device.wait_online()
        await client.send_text(other.account(next(_phones)), "already linked")
        assert client.account.name == "Kept"


async def test_a_client_that_asks_something_new_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="xmlns/child"):
        async with FakeWhatsApp(tmp_path) as server:
            server.unknown.append("xmlns/child")
    async with FakeWhatsApp(tmp_path) as server:
        server.unknown.append("xmlns/child")
        server.expect_unknown("xmlns/child")
