"""Linking a home to a WhatsApp account and ending that, with the real worker on the fake server."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from nanoclaw.channels.whatsapp import account
from nanoclaw.channels.whatsapp.linking import Chats, Code, Linked, LinkEvent, login_whatsapp, logout_whatsapp
from nanoclaw.config import Home, Settings
from nanoclaw.errors import ChannelUnavailable, UsageError
from tests.fakes.whatsapp import FakeWhatsApp
from tests.integration.whatsapp_rig import QUICK, Rig, link

pytestmark = pytest.mark.anyio

SETTINGS = Settings(whatsapp=QUICK)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the file, in which the server lives."""
    return "asyncio"


@pytest.fixture(scope="module")
async def wa(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[FakeWhatsApp]:
    async with FakeWhatsApp(tmp_path_factory.mktemp("whatsapp")) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


async def test_a_new_code_comes_by_itself_and_the_groups_are_listed(wa: FakeWhatsApp, home: Home) -> None:
    andy = wa.account("15550001", "Andy")
    group = wa.create_group("Family", by=wa.account("15550002", "Bob"), members=[andy])
    events: list[LinkEvent] = []
    codes = 0
    async for event in login_whatsapp(home, SETTINGS, command=wa.launcher):
        events.append(event)
        if isinstance(event, Code):
            codes += 1
            assert (event.kind, event.seconds) == ("qr", 60)
            if codes == 1:
                wa.expire_codes()
            else:
                await wa.scan(event.text, andy)
    assert codes == 2
    assert isinstance(events[-2], Linked)
    assert events[-2].account.phone == "15550001"
    assert isinstance(events[-1], Chats)
    assert [(chat.chat, chat.name) for chat in events[-1].chats] == [(andy.pn, "yourself"), (group.jid, "Family")]
    assert account.load(home.whatsapp) == events[-2].account
    assert [device.title for device in andy.devices] == ["NanoClaw"]
    for name in ("session.db", "spool.db", "account.json", "lock"):
        assert (home.whatsapp / name).stat().st_mode & 0o077 == 0
    assert home.whatsapp.stat().st_mode & 0o077 == 0


async def test_a_code_can_be_typed_on_the_phone(wa: FakeWhatsApp, home: Home) -> None:
    eve = wa.account("15550003", "Eve")
    kinds: list[str] = []
    async for event in login_whatsapp(home, SETTINGS, phone="+1 555 0003", command=wa.launcher):
        kinds.append(type(event).__name__)
        if isinstance(event, Code):
            assert event.kind == "phone"
            await wa.enter_code(event.text, eve)
    assert kinds == ["Code", "Linked", "Chats"]


async def test_what_is_no_phone_number_is_refused(wa: FakeWhatsApp, home: Home) -> None:
    async with aclosing(login_whatsapp(home, SETTINGS, phone="my phone", command=wa.launcher)) as events:
        with pytest.raises(UsageError):
            await anext(events)


async def test_a_library_that_is_too_old_is_told_while_linking(wa: FakeWhatsApp, home: Home) -> None:
    wa.fail_connections(405)
    async with aclosing(login_whatsapp(home, SETTINGS, command=wa.launcher)) as events:
        with pytest.raises(ChannelUnavailable, match="no longer accepts this version"):
            await anext(events)


async def test_logging_out_takes_the_device_out_of_the_account(wa: FakeWhatsApp, home: Home) -> None:
    with pytest.raises(UsageError):
        await logout_whatsapp(home, SETTINGS, command=wa.launcher)
    dave = wa.account("15550004", "Dave")
    await link(wa, home, SETTINGS, dave)
    rig = Rig(wa, home, SETTINGS)
    async with rig.connected():
        with pytest.raises(ChannelUnavailable, match="a host uses"):
            await logout_whatsapp(home, SETTINGS, command=wa.launcher)
    assert (await logout_whatsapp(home, SETTINGS, command=wa.launcher)).phone == "15550004"
    assert account.load(home.whatsapp) is None
    assert dave.devices == []


async def test_a_running_host_can_unlink(wa: FakeWhatsApp, home: Home) -> None:
    fay = wa.account("15550005", "Fay")
    await link(wa, home, SETTINGS, fay)
    rig = Rig(wa, home, SETTINGS)
    async with rig.connected():
        await rig.channel.unlink()
        assert "auth login" in (await rig.state("logged_out")).hint
    assert fay.devices == []


async def test_a_host_that_is_not_linked_says_so(wa: FakeWhatsApp, home: Home) -> None:
    rig = Rig(wa, home, SETTINGS)
    async with rig.channel.connect(rig.receive):
        state = await rig.state("unlinked")
        assert "auth login" in state.hint
        with pytest.raises(ChannelUnavailable):
            await rig.send("15550002@s.whatsapp.net", "hello?", "unlinked")
