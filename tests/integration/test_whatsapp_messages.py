"""What comes in from WhatsApp and what goes out, with the real worker and the unmodified library on the fake server.

One server, one linked account (Andy) and two people for the whole file.
"""

from collections.abc import AsyncGenerator
from hashlib import sha256
from pathlib import Path

import anyio
import pytest

from nanoclaw.channels.base import MessageRef, Outbound, OutboundFile
from nanoclaw.errors import DeliveryRejected
from nanoclaw.model import (
    InboundChat,
    InboundDeletion,
    InboundEdit,
    InboundMessage,
    InboundReaction,
    InboundReceipt,
    Jid,
)
from tests.fakes.whatsapp import Device, FakeWhatsApp, Group, Peer
from tests.integration.whatsapp_rig import Rig, a_rig

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)
OGG = b"OggS\x00\x02" + bytes(22) + b"\x01\x13OpusHead" + bytes(100)


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
    found: dict[str, Peer] = {}

    async def meet(name: str, phone: str) -> None:
        found[name] = await wa.peer(wa.account(phone, name))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(meet, "Bob", "15550002")
        tasks.start_soon(meet, "Carol", "15550003")
    return found


@pytest.fixture(scope="module")
def bob(people: dict[str, Peer]) -> Peer:
    return people["Bob"]


@pytest.fixture(scope="module")
def carol(people: dict[str, Peer]) -> Peer:
    return people["Carol"]


@pytest.fixture(scope="module")
def family(wa: FakeWhatsApp, bob: Peer, carol: Peer) -> Group:
    return wa.create_group("Family", by=bob.account, members=[wa.account("15550001", "Andy"), carol.account])


@pytest.fixture(scope="module")
async def linked(
    wa: FakeWhatsApp, family: Group, bob: Peer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[tuple[Rig, Device]]:
    home = tmp_path_factory.mktemp("home")
    async with a_rig(wa, home, wa.account("15550001", "Andy"), [family.jid, bob.account.pn]) as found:
        yield found


@pytest.fixture
def rig(linked: tuple[Rig, Device]) -> Rig:
    linked[0].inbound.clear()
    return linked[0]


async def test_a_group_message_comes_with_who_wrote_what_where(rig: Rig, bob: Peer, family: Group) -> None:
    ext_id = await bob.send_text(family, "@Andy what is for dinner?")
    message = await rig.next(InboundMessage, ext_id=ext_id)
    assert message.text == "@Andy what is for dinner?"
    assert (message.chat, message.chat_name) == (family.jid, "Family")
    assert (message.sender, message.sender_name) == (bob.account.pn, "Bob")
    assert message.account == "15550001@s.whatsapp.net"
    assert not message.from_owner
    assert not message.addressed


async def test_of_a_chat_that_is_not_followed_only_name_and_time_are_kept(
    wa: FakeWhatsApp, rig: Rig, bob: Peer, carol: Peer, family: Group
) -> None:
    secret = await carol.send_text("15550001@s.whatsapp.net", "a secret of Carol's")
    chat = await rig.next(InboundChat, chat=carol.account.pn)
    assert (chat.name, chat.is_group, chat.members) == ("Carol", False, None)
    assert chat.active_at is not None
    kept = b"".join(path.read_bytes() for path in rig.home.whatsapp.glob("spool.db*"))
    assert b"a secret of Carol" not in kept
    ext_id = await bob.send_text(family, "read this")
    await wa.until(lambda: "read" in [receipt.type for receipt in wa.message(ext_id).receipts], "a read receipt")
    assert "read" not in [receipt.type for receipt in wa.message(secret).receipts]


async def test_what_is_shown_as_read_was_stored_before(wa: FakeWhatsApp, rig: Rig, bob: Peer, family: Group) -> None:
    read: list[bool] = []

    async def look(inbound: object) -> None:
        if isinstance(inbound, InboundMessage):
            read.append("read" in [receipt.type for receipt in wa.message(inbound.ext_id).receipts])

    rig.also = look
    ext_id = await bob.send_text(family, "read this too")
    await wa.until(lambda: "read" in [receipt.type for receipt in wa.message(ext_id).receipts], "a read receipt")
    rig.also = None
    assert read == [False]


async def test_who_writes_sees_that_it_was_delivered(
    wa: FakeWhatsApp, linked: tuple[Rig, Device], rig: Rig, bob: Peer, family: Group
) -> None:
    await rig.channel.refresh()  # after what a worker does when it is connected
    ext_id = await bob.send_text(family, "two ticks")

    def ours() -> list[str]:
        sent = [receipt.type for receipt in wa.message(ext_id).receipts if receipt.sender is linked[1]]
        return [kind for kind in sent if kind != "read"]  # which may overtake the other

    await wa.until(ours, "a receipt of ours")
    assert ours() == ["delivered"]


@pytest.mark.parametrize("addressing", ["lid", "pn"])
async def test_one_person_and_one_chat_whichever_address_is_used(
    wa: FakeWhatsApp, rig: Rig, bob: Peer, addressing: str
) -> None:
    wa.world.direct_addressing = addressing
    ext_id = await bob.send_text("15550001@s.whatsapp.net", f"by {addressing}")
    message = await rig.next(InboundMessage, ext_id=ext_id)
    assert message.chat == message.sender == bob.account.pn
    await rig.send(bob.account.pn, f"answer by {addressing}", f"direct-{addressing}")
    await bob.next_message(text=f"answer by {addressing}")


async def test_text_is_found_inside_every_wrapper(rig: Rig, bob: Peer, family: Group) -> None:
    text = {"extendedTextMessage": {"text": "inside"}}
    wrapped = [
        {"conversation": "inside"},
        {"ephemeralMessage": {"message": text}},
        {"ephemeralMessage": {"message": {"groupMentionedMessage": {"message": text}}}},
    ]
    for content in wrapped:
        ext_id = await bob.send(family.jid, content)
        assert (await rig.next(InboundMessage, ext_id=ext_id)).text == "inside"


async def test_a_mention_and_an_answer_address_the_assistant(
    wa: FakeWhatsApp, rig: Rig, bob: Peer, carol: Peer, family: Group
) -> None:
    andy = wa.account("15550001")
    ext_id = await bob.send_text(family, f"@{andy.phone} look", mentions=[andy])
    assert (await rig.next(InboundMessage, ext_id=ext_id)).addressed
    await rig.send(family.jid, "I am here", "said-1")
    heard = await bob.next_message(text="I am here")
    ext_id = await bob.reply(heard, "and now?")
    message = await rig.next(InboundMessage, ext_id=ext_id)
    assert message.addressed
    assert message.quote is not None
    assert (message.quote.ext_id, message.quote.text, message.quote.ours) == (heard.id, "I am here", True)
    await carol.send_text(family, "from Carol")
    ext_id = await bob.reply(await bob.next_message(text="from Carol"), "to Carol")
    message = await rig.next(InboundMessage, ext_id=ext_id)
    assert not message.addressed
    assert message.quote is not None
    assert (message.quote.sender, message.quote.sender_name, message.quote.ours) == (carol.account.pn, "Carol", False)


async def test_edits_deletions_and_reactions_name_the_message_that_they_are_about(
    rig: Rig, bob: Peer, carol: Peer, family: Group
) -> None:
    ext_id = await bob.send_text(family, "meet at 7")
    await rig.next(InboundMessage, ext_id=ext_id)
    await bob.edit(family, ext_id, "meet at 8")
    edit = await rig.next(InboundEdit, ext_id=ext_id)
    assert (edit.chat, edit.sender, edit.text) == (family.jid, bob.account.pn, "meet at 8")
    await carol.react(await carol.next_message(text="meet at 7"), "👍")
    reaction = await rig.next(InboundReaction, target_ext_id=ext_id)
    assert (reaction.sender, reaction.target_sender, reaction.emoji) == (carol.account.pn, bob.account.pn, "👍")
    await bob.revoke(family, ext_id)
    deletion = await rig.next(InboundDeletion, ext_id=ext_id)
    assert (deletion.chat, deletion.sender) == (family.jid, bob.account.pn)
    assert rig.texts() == ["meet at 7"]


async def test_a_change_that_comes_too_late_for_whatsapp_changes_nothing(
    wa: FakeWhatsApp, rig: Rig, bob: Peer, family: Group
) -> None:
    ext_id = await bob.send_text(family, "meet at noon")
    await rig.next(InboundMessage, ext_id=ext_id)
    for ahead in (21 * 60, 4 * 86_400):
        wa.world.ahead = ahead
        await bob.edit(family, ext_id, f"meet {ahead} later")
    await bob.revoke(family, ext_id)
    wa.world.ahead = 10 * 60
    await bob.edit(family, ext_id, "meet at one")
    edit = await rig.next(InboundEdit)
    wa.world.ahead = 0
    assert edit.text == "meet at one"
    assert rig.of(InboundDeletion) == []


async def test_a_reaction_to_the_assistant_names_nobody_else(rig: Rig, bob: Peer, family: Group) -> None:
    ext_id = await rig.send(family.jid, "done", "reacted-to")
    await bob.react(await bob.next_message(text="done"), "🎉")
    assert (await rig.next(InboundReaction, target_ext_id=ext_id)).target_sender == ""


async def test_files_come_with_their_bytes_type_and_hash(rig: Rig, bob: Peer, family: Group) -> None:
    ext_id = await bob.send_image(family, PNG, caption="the cat", mime="image/png")
    message = await rig.next(InboundMessage, ext_id=ext_id)
    (image,) = message.attachments
    assert (message.text, image.kind, image.mime, image.size) == ("the cat", "image", "image/png", len(PNG))
    assert image.sha256 == sha256(PNG).hexdigest()
    ext_id = await bob.send_document(family, b"%PDF-1.4 etc", "../../tax.pdf", mime="application/pdf")
    (document,) = (await rig.next(InboundMessage, ext_id=ext_id)).attachments
    assert (document.kind, document.mime, document.original_name) == ("document", "application/pdf", "../../tax.pdf")
    ext_id = await bob.send_voice(family, OGG)
    (voice,) = (await rig.next(InboundMessage, ext_id=ext_id)).attachments
    assert voice.kind == "voice"


async def test_a_file_is_private_and_gone_once_the_host_has_it(rig: Rig, bob: Peer, family: Group) -> None:
    seen: list[tuple[int, bytes]] = []

    async def look(inbound: object) -> None:
        if isinstance(inbound, InboundMessage) and inbound.attachments and inbound.attachments[0].source:
            source = inbound.attachments[0].source
            seen.append((source.stat().st_mode & 0o777, source.read_bytes()))

    rig.also = look
    ext_id = await bob.send_image(family, PNG, caption="private")
    message = await rig.next(InboundMessage, ext_id=ext_id)
    rig.also = None
    assert seen == [(0o600, PNG)]
    source = message.attachments[0].source
    assert source is not None
    ext_id = await bob.send_text(family, "after it")
    await rig.next(InboundMessage, ext_id=ext_id)
    assert not source.exists()


async def test_a_file_that_is_too_large_or_missing_is_told_and_not_lost_in_silence(
    wa: FakeWhatsApp, rig: Rig, bob: Peer, carol: Peer, family: Group
) -> None:
    ext_id = await bob.send_document(family, bytes(2 << 20), "big.bin", caption="see this")
    message = await rig.next(InboundMessage, ext_id=ext_id)
    assert message.text == "see this"
    assert message.attachments[0].source is None
    assert "larger than 1 MB" in message.attachments[0].problem
    await bob.send_image(family, PNG, caption="uploaded once")
    image = (await carol.next_message(text="uploaded once")).content["imageMessage"]
    await rig.next(InboundMessage, text="uploaded once")
    wa.media.missing(99)
    ext_id = await bob.send(family.jid, {"imageMessage": image})
    message = await rig.next(InboundMessage, ext_id=ext_id)
    wa.media.missing(0)
    assert message.attachments[0].source is None
    assert message.attachments[0].problem


async def test_a_file_that_is_larger_than_its_sender_says_is_not_loaded(
    wa: FakeWhatsApp, rig: Rig, bob: Peer, carol: Peer, family: Group
) -> None:
    await bob.send_document(family, bytes(2 << 20), "big.bin", caption="honest")
    document = (await carol.next_message(text="honest")).content["documentMessage"]
    await rig.next(InboundMessage, text="honest")
    before = len(wa.media.requests)
    ext_id = await bob.send(family.jid, {"documentMessage": {**document, "fileLength": 5, "caption": "a lie"}})
    (attachment,) = (await rig.next(InboundMessage, ext_id=ext_id)).attachments
    assert attachment.source is None
    assert "larger than 1 MB" in attachment.problem
    assert len(wa.media.requests) == before + 1, "weighed, and not fetched"


async def test_a_file_is_fetched_from_nowhere_but_the_platform(
    wa: FakeWhatsApp, rig: Rig, bob: Peer, carol: Peer, family: Group
) -> None:
    await bob.send_image(family, PNG, caption="from here")
    image = (await carol.next_message(text="from here")).content["imageMessage"]
    await rig.next(InboundMessage, text="from here")
    before = len(wa.media.requests)
    for place in (
        {"directPath": "@elsewhere.test/secret"},
        {"directPath": "//elsewhere.test/secret"},
        {"directPath": "", "URL": "http://127.0.0.1:1/secret"},
    ):
        ext_id = await bob.send(family.jid, {"imageMessage": {**image, **place}})
        (attachment,) = (await rig.next(InboundMessage, ext_id=ext_id)).attachments
        assert attachment.source is None
        assert "does not say where" in attachment.problem
    assert len(wa.media.requests) == before
    ext_id = await bob.send(family.jid, {"imageMessage": {**image, "URL": "http://127.0.0.1:1/secret"}})
    (attachment,) = (await rig.next(InboundMessage, ext_id=ext_id)).attachments
    assert attachment.sha256 == sha256(PNG).hexdigest()


async def test_what_may_be_seen_only_once_is_not_kept(rig: Rig, bob: Peer, carol: Peer, family: Group) -> None:
    await bob.send_image(family, PNG, caption="original")
    original = await carol.next_message(text="original")
    image = {**original.content["imageMessage"], "caption": "once"}
    await rig.next(InboundMessage, text="original")
    ext_id = await bob.send(family.jid, {"viewOnceMessageV2": {"message": {"imageMessage": image}}})
    (attachment,) = (await rig.next(InboundMessage, ext_id=ext_id)).attachments
    assert attachment.source is None
    assert "once" in attachment.problem


async def test_a_reply_arrives_formatted_quoting_what_it_answers(rig: Rig, bob: Peer, family: Group) -> None:
    ext_id = await bob.send_text(family, "@Andy question")
    asked = await rig.next(InboundMessage, ext_id=ext_id)
    reference = MessageRef(sender=asked.sender, ext_id=ext_id, text=asked.text)
    text = rig.channel.formatted("**yes**")
    receipt = await rig.channel.send(Jid(family.jid), Outbound(key="quoting", text=text, answers=reference))
    heard = await bob.next_message(text="*yes*")
    assert (heard.id, heard.quoted_id, heard.quoted_text) == (receipt.platform_id, ext_id, "@Andy question")


async def test_the_same_key_is_sent_once(wa: FakeWhatsApp, linked: tuple[Rig, Device], rig: Rig, family: Group) -> None:
    first = await rig.send(family.jid, "only once", "the-key")
    again = await rig.send(family.jid, "only once", "the-key")
    assert first == again
    assert [message.id for message in wa.sent_by(linked[1])].count(first) == 1


async def test_receipts_tell_how_far_a_reply_has_come(rig: Rig, bob: Peer, carol: Peer, family: Group) -> None:
    ext_id = await rig.send(family.jid, "have you seen this?", "followed-up")
    await bob.mark_read(await bob.next_message(text="have you seen this?"))
    read = await rig.next(InboundReceipt, key="followed-up", state="read")
    assert (read.chat, read.platform_id) == (family.jid, ext_id)
    states = [receipt.state for receipt in rig.of(InboundReceipt, key="followed-up")]
    assert states == ["device", "read"]


async def test_files_are_sent_as_what_they_are(rig: Rig, bob: Peer, family: Group, tmp_path: Path) -> None:
    for name, data, mime, kind in (
        ("cat.png", PNG, "image/png", "image"),
        ("notes.txt", b"notes", "text/plain", "document"),
        ("word.ogg", OGG, "audio/ogg", "voice"),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        file = OutboundFile(path=path, name=name, mime=mime)
        await rig.channel.send(Jid(family.jid), Outbound(key=f"file-{name}", text="here", file=file))
        heard = await bob.next_message(kind=kind)
        assert await bob.download(heard) == data
        assert heard.filename in ("", name)


async def test_a_file_that_is_not_there_is_rejected(rig: Rig, family: Group, tmp_path: Path) -> None:
    with pytest.raises(DeliveryRejected):
        await rig.send(family.jid, "", "no-file", tmp_path / "gone.png", "image/png")


async def test_a_group_that_does_not_exist_is_rejected(rig: Rig) -> None:
    with pytest.raises(DeliveryRejected):
        await rig.send("120363000000000000@g.us", "hello?", "no-group")


async def test_typing_is_shown_and_hidden(wa: FakeWhatsApp, rig: Rig, bob: Peer, family: Group) -> None:
    before = len(wa.chatstates)
    await rig.channel.set_typing(Jid(bob.account.pn), True)
    await rig.channel.set_typing(Jid(bob.account.pn), False)
    await wa.until(lambda: len(wa.chatstates) >= before + 2, "typing")
    assert [state.state for state in wa.chatstates[before:]] == ["composing", "paused"]


async def test_our_reaction_reaches_the_message(rig: Rig, bob: Peer, family: Group) -> None:
    ext_id = await bob.send_text(family, "react to me")
    message = await rig.next(InboundMessage, ext_id=ext_id)
    reference = MessageRef(sender=message.sender, ext_id=ext_id, text=message.text)
    await rig.channel.react(Jid(family.jid), reference, "👀")
    heard = await bob.next_message(text="👀")
    assert (heard.target, heard.kind) == (ext_id, "reaction")


async def test_in_a_chat_whose_messages_disappear_ours_do_too(rig: Rig, bob: Peer, family: Group) -> None:
    content = {"extendedTextMessage": {"text": "for a day", "contextInfo": {"expiration": 86400}}}
    ext_id = await bob.send(family.jid, {"ephemeralMessage": {"message": content}})
    await rig.next(InboundMessage, ext_id=ext_id)
    await rig.send(family.jid, "gone tomorrow", "ephemeral")
    assert (await bob.next_message(text="gone tomorrow")).expiration == 86400
    family.set_expiration(0, by=bob.account)


async def test_groups_tell_their_names_and_members(wa: FakeWhatsApp, rig: Rig, bob: Peer, carol: Peer) -> None:
    group = wa.create_group("Trip", by=bob.account, members=[wa.account("15550001")])
    assert (await rig.next(InboundChat, name="Trip")).members is None
    rig.follow(group.jid)
    group.add(carol.account, by=bob.account)
    await rig.channel.refresh()
    chat = await rig.next(InboundChat, chat=group.jid, name="Trip")
    while not chat.members:
        await rig.news.wait()
        chat = rig.of(InboundChat, chat=group.jid)[-1]
    assert {member.address for member in chat.members} == {
        "15550001@s.whatsapp.net",
        bob.account.pn,
        carol.account.pn,
    }
    assert [member.address for member in chat.members if member.admin] == [bob.account.pn]
    group.rename("Trip to Rome", by=bob.account)
    await rig.next(InboundChat, chat=group.jid, name="Trip to Rome")


async def test_messages_stay_in_order_and_each_comes_once(
    wa: FakeWhatsApp, linked: tuple[Rig, Device], rig: Rig, bob: Peer, family: Group
) -> None:
    linked[1].deliver_twice(5)
    for number in range(30):
        await bob.send_text(family, f"n{number}")
    last = wa.sent_by(bob.account)[-1]
    await rig.until(lambda: "n29" in rig.texts())
    await rig.until(lambda: len(rig.texts()) >= 30)
    again = len(rig.of(InboundMessage, ext_id=last.id))
    written = last.delivered[linked[1].address]
    linked[1].ask_resend(last)
    # it brings the sender's newest key; what was encrypted before that and comes after it could not be read
    await wa.until(lambda: last.delivered[linked[1].address] > written, "it was sent again")
    ext_id = await bob.send_text(family, "after all")
    await rig.next(InboundMessage, ext_id=ext_id)
    assert rig.texts() == [*(f"n{number}" for number in range(30)), "after all"]
    assert again == 1


async def test_messages_of_ours_do_not_say_that_a_bot_sent_them(wa: FakeWhatsApp, rig: Rig, bob: Peer) -> None:
    ext_id = await rig.send(bob.account.pn, "no bot", "untagged")
    assert not wa.message(ext_id).bot
