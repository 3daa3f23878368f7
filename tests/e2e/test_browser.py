"""The page in a real Chromium: every view and every action, on a desk and on a phone, in light and in dark.

How it looks is kept in the directory that `NANOCLAW_SCREENSHOTS` names, else in pytest's own.
"""

import os
import re
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from playwright.async_api import Browser, Page, expect

from nanoclaw.channels.base import Channel
from nanoclaw.channels.local import LocalChannel
from nanoclaw.channels.whatsapp.channel import WhatsAppChannel
from nanoclaw.client import Client
from nanoclaw.clock import Clock
from nanoclaw.config import Home, Settings, load_settings
from nanoclaw.host import Host
from nanoclaw.testing.models import Conversation, Step, fault, say, shell
from nanoclaw.testing.world import World, make_world
from nanoclaw.web.access import address, page_token
from tests.e2e.page_rig import LONG, Visit, browsing, furnish, visiting
from tests.fakes.whatsapp import FakeWhatsApp

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

VIEWS = {
    "overview": "/",
    "groups": "/groups",
    "conversation": "/groups/family",
    "conversation-hostile": "/groups/strange",
    "settings": "/groups/family/settings",
    "settings-main": "/groups/main/settings",
    "register": "/register",
    "runs": "/runs",
    "run": "/runs/1",
    "run-failed": "/runs/2",
    "run-hostile": "/runs/3",
    "tasks": "/tasks",
    "signins": "/signins",
    "whatsapp": "/whatsapp",
    "usage": "/usage",
    "usage-money": "/usage?days=7&measure=usd&group=family",
    "audit": "/audit",
    "undelivered": "/undelivered",
}


class Codex:
    """Takes its time where it is told to, fails while it is broken, else answers."""

    def __init__(self) -> None:
        self.broken = False

    def __call__(self, conversation: Conversation) -> Step:
        """The script."""
        if self.broken:
            return fault("model_not_found")
        if any("take your time" in message for message in conversation.messages[-1:]):
            return say("late") if conversation.tool_outputs else shell("echo kneading the dough; sleep 60")
        return say("Two litres, <b>I think</b>.")


@dataclass
class Site:
    """A host with its page."""

    world: World
    codex: Codex
    browser: Browser
    address: str
    pictures: Path

    def visit(
        self, *, phone: bool = False, dark: bool = False, script: bool = True
    ) -> AbstractAsyncContextManager[Visit]:
        """Somebody comes along."""
        return visiting(self.browser, self.address, self.pictures, phone=phone, dark=dark, script=script)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the file, in which host and browser live."""
    return "asyncio"


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Site]:
    pictures = Path(os.environ.get("NANOCLAW_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    codex = Codex()
    with make_world(codex, say("hello"), engine="bubblewrap") as world:
        furnish(world)
        async with world.hosting() as client, browsing() as browser:
            port = (await client.get("/v1/status"))["page"]["port"]
            yield Site(world, codex, browser, address(port, page_token(world.home.page_token)), pictures)


async def submit(page: Page, name: str) -> None:
    """Press the button with this name."""
    await page.get_by_role("button", name=name, exact=True).click()


async def sure(page: Page, name: str) -> None:
    """Press a button that asks whether it is meant."""
    await page.locator("summary", has_text=f"{name} …").first.click()
    await page.locator(".asks[open]").get_by_role("button", name=name, exact=True).click()


@pytest.mark.timeout(300)  # two dozen pages, each looked through for what a screen reader needs
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_every_view_can_be_seen_by_everybody(site: Site, dark: bool) -> None:
    async with site.visit(phone=dark, dark=dark) as visit:
        for name, path in VIEWS.items():
            await visit.go(path)
            await expect(visit.page.locator("h1")).not_to_have_text("That did not work")
            await visit.check(colours_alone=dark)
            await visit.picture(f"{'phone-dark' if dark else 'desk-light'}-{name}")


async def test_what_strangers_write_is_shown_and_does_nothing(site: Site) -> None:
    async with site.visit() as visit:
        page = visit.page
        page.on("dialog", lambda _: visit.wrong.append("a dialog"))
        for path in ("/groups/strange", "/runs/3", "/audit", "/groups", "/usage?group=strange"):
            await visit.go(path)
            text = await page.locator("body").inner_text()
            assert "owned" not in await page.title()
            assert not re.search(r"[\u202a-\u202e\u2066-\u2069\x1b]", text), path
        await visit.go("/groups/strange")
        assert "<script>document.title" in await page.locator("#message-8").inner_text()
        folded = page.locator("#message-9")
        assert len(await folded.inner_text()) < 600
        await folded.get_by_text("show all").click()
        assert len(await folded.inner_text()) > 4000
        await visit.picture("conversation-unfolded")
        await folded.get_by_role("link", name="The whole text").click()
        assert (await page.locator("body").inner_text()).strip() == LONG.strip()


async def test_by_the_keyboard_alone_one_can_find_a_group_and_talk_to_it(site: Site) -> None:
    async with site.visit() as visit:
        page, keys = visit.page, visit.page.keyboard

        async def reach(text: str) -> None:
            """Go on with Tab until the focus is on this."""
            for _ in range(60):
                await keys.press("Tab")
                focused = page.locator(":focus")
                if await focused.count() and text in (
                    await focused.inner_text() or await focused.get_attribute("id") or ""
                ):
                    return
            raise AssertionError(f"{text} cannot be reached")

        await reach("To the content")
        await keys.press("Enter")
        await reach("Family")
        await keys.press("Enter")
        await page.wait_for_url("**/groups/family")
        await page.get_by_label("Message to Family").wait_for()
        await reach("text")
        await keys.type("@Andy how much milk")
        await keys.press("Shift+Enter")
        await keys.type("do we need?")
        await keys.press("Enter")
        await expect(page.locator("#lines")).to_contain_text("how much milk\ndo we need?")
        await expect(page.locator("#lines > li").last).to_contain_text("Two litres, <b>I think</b>.", timeout=60_000)
        field = page.get_by_label("Message to Family")
        await expect(field).to_be_focused()
        await expect(field).to_have_value("")
        await visit.check()
        await visit.picture("conversation-answered")


async def test_a_run_is_followed_step_by_step_and_stopped(site: Site) -> None:
    async with site.visit() as visit:
        page = visit.page
        await visit.go("/groups/family")
        await page.get_by_label("Message to Family").fill("@Andy take your time")
        await submit(page, "Send")
        await page.get_by_role("link", name="Andy is at work").click(timeout=30_000)
        await expect(page.locator("#steps")).to_contain_text("kneading the dough", timeout=60_000)
        await expect(page.locator("#facts")).to_contain_text("running")
        await visit.check()
        await visit.picture("run-going-on")
        await submit(page, "Stop")
        await expect(page.locator("#facts")).to_contain_text("stopped")
        await expect(page.get_by_role("button", name="Stop")).to_have_count(0)
        await visit.picture("run-stopped")


async def test_what_failed_is_tried_again(site: Site) -> None:
    async with site.visit(phone=True) as visit:
        page = visit.page
        await visit.go("/groups/family")
        await page.get_by_label("Message to Family").fill("@Andy and how much milk?")
        site.codex.broken = True
        await submit(page, "Send")
        again = page.get_by_role("button", name="Try the last answer again")
        await again.wait_for(timeout=60_000)
        site.codex.broken = False
        await again.click()
        await expect(page.locator("#lines > li").last).to_contain_text("Two litres", timeout=60_000)
        await visit.check()


async def test_settings_are_changed_in_place_and_what_is_wrong_is_told_there(site: Site) -> None:
    async with site.visit() as visit:
        page = visit.page
        await visit.go("/groups/strange/settings")
        await page.get_by_label("Name", exact=True).fill("Odd <i>people</i>")
        await page.get_by_label("Who may wake it").select_option("allowlist")
        await page.get_by_label("Named people").fill("+49 151 1234567\nlocal:Ann")
        await page.locator("form[action$=wakes]").get_by_role("button").click()
        await expect(page.locator("h1")).to_have_text("Settings of Odd <i>people</i>")
        await expect(page.locator("form[action$=wakes] .told")).to_have_text("Saved.")
        limits = page.locator("form[action$=limits]")
        await limits.get_by_label("Tokens for one day").fill("a lot")
        await limits.get_by_role("button").click()
        await expect(limits.locator(".told")).to_contain_text("tokens for one day is 'a lot'")
        visit.expected += 1
        await expect(limits.get_by_label("Tokens for one day")).to_have_value("a lot")
        await limits.get_by_label("Tokens for one day").fill("20000")
        await limits.get_by_role("button").click()
        await expect(limits.locator(".told")).to_have_text("Saved.")
        network = page.locator("form[action$=network]")
        await network.get_by_label("Policy").select_option("none")
        await network.get_by_role("button").click()
        await expect(page.locator("#network")).to_contain_text("In force: none")
        await network.get_by_label("Allowed hosts").fill("https://example.org/path")
        await network.get_by_role("button").click()
        await expect(network.locator(".told")).to_contain_text("names alone")
        visit.expected += 1
        await visit.check()
        await visit.picture("settings-wrong-input")
        thinks = page.locator("form[action$=thinks]")
        await thinks.get_by_label("Thinks here").select_option("codex")
        await thinks.locator("#codex_level").select_option("readonly")
        await thinks.locator("#codex_model").fill("gpt-5-codex")
        await thinks.get_by_role("button").click()
        await expect(thinks.locator(".told")).to_have_text("Saved.")
        await visit.go("/groups")
        row = page.locator("tr", has=page.get_by_role("link", name="Odd <i>people</i>", exact=True))
        for cell in ("OpenAI Codex, gpt-5-codex", "readonly", "from 2 people", "none", "20\u202f000 tokens"):
            await expect(row).to_contain_text(cell)


async def test_a_chat_is_registered_and_taken_off_the_list_again(site: Site) -> None:
    async with site.visit() as visit:
        page = visit.page
        await visit.go("/groups")
        await page.get_by_role("link", name="register Book club").click()
        await expect(page.get_by_label("Chat", exact=True)).to_have_value("120363000000000002@g.us")
        await page.get_by_label("Folder").fill("../books")
        await submit(page, "Register")
        await expect(page.locator("form .told")).to_contain_text("use letters, digits, - and _")
        visit.expected += 1
        await visit.picture("register-wrong-input")
        await page.get_by_label("Folder").fill("books")
        await submit(page, "Register")
        await page.wait_for_url("**/groups/books/settings")
        await sure(page, "Unregister")
        await page.wait_for_url("**/groups")
        await expect(page.get_by_role("link", name="register Book club")).to_be_visible()


async def test_a_task_is_added_changed_run_and_cancelled(site: Site) -> None:
    async with site.visit() as visit:
        page = visit.page
        await visit.go("/tasks")
        await page.get_by_label("Group", exact=True).select_option("family")
        await page.get_by_label("When", exact=True).fill("often")
        await page.get_by_label("Instruction").fill("Water the plants.")
        await submit(page, "Add")
        await expect(page.locator("form .told")).to_contain_text("five fields")
        visit.expected += 1
        await expect(page.get_by_label("Instruction")).to_have_value("Water the plants.")
        await page.get_by_label("When", exact=True).fill("0 9 * * 1")
        await submit(page, "Add")
        await expect(page.locator("#facts")).to_contain_text("At 09:00 on Monday")
        await page.get_by_label("When", exact=True).fill("30 9 * * 1")
        await submit(page, "Save")
        await expect(page.locator("#facts")).to_contain_text("At 09:30 on Monday")
        await submit(page, "Pause")
        await expect(page.locator("#facts")).to_contain_text("paused")
        await submit(page, "Resume")
        await expect(page.locator("#facts")).to_contain_text("active")
        await submit(page, "Run it now")
        await expect(page.locator("#history tbody")).to_contain_text("done", timeout=60_000)
        await visit.check()
        await visit.picture("task-has-run")
        await sure(page, "Cancel")
        await expect(page.locator("#facts")).to_contain_text("cancelled")


async def test_a_key_is_entered_and_never_seen_again(site: Site) -> None:
    key = "sk-ant-api03-" + "k" * 40
    async with site.visit() as visit:
        page = visit.page
        await visit.go("/signins")
        form = page.locator("form[action='/signins/key']")
        await form.get_by_label("The key").fill("no key at all")
        await form.get_by_role("button").click()
        await expect(form.locator(".told")).to_have_class(re.compile("grave"))
        visit.expected += 1
        assert await form.get_by_label("The key").get_attribute("type") == "password"
        await form.get_by_label("The key").fill(key)
        await form.get_by_label("For").select_option("family")
        await form.get_by_role("button").click()
        await expect(form.locator(".told")).to_have_text("Kept.")
        await expect(form.get_by_label("The key")).to_have_value("")
        assert key not in await page.content()
        own = page.locator("article", has_text="For family alone")
        await own.locator("summary").click()
        await own.get_by_role("button", name="Sign out").click()
        await expect(own).to_have_count(0)
    assert key not in (site.world.home.env).read_text(encoding="utf-8")


async def test_one_signs_in_with_chatgpt_by_the_code_that_the_page_shows(site: Site) -> None:
    sign_in = site.world.openai.sign_in
    sign_in.pending_polls = 10_000
    async with site.visit() as visit:
        page = visit.page
        await visit.go("/signins")
        await submit(page, "Get a code")
        await expect(page.locator("#chatgpt output")).to_have_text("ABCD-1234", timeout=60_000)
        await expect(page.get_by_role("img", name="QR code of the address to open")).to_be_visible()
        await expect(page.get_by_role("link", name=f"{site.world.openai.issuer_url}/codex/device")).to_be_visible()
        await visit.check()
        await visit.picture("signin-code")
        await submit(page, "Stop")
        await submit(page, "Get a code")
        await expect(page.locator("#chatgpt output")).to_have_text("ABCD-1234", timeout=60_000)
        sign_in.pending_polls = 0
        await expect(page.locator("#accounts")).to_contain_text("ChatGPT login of person@example.test", timeout=60_000)
        await expect(page.locator("#chatgpt")).to_contain_text("Signed in: ChatGPT login")
        await visit.check()
        await visit.picture("signin-done")
        login = page.locator("article", has_text="person@example.test")
        await login.locator("summary").click()
        await login.get_by_role("button", name="Sign out").click()
        await expect(login).to_have_count(0)


async def test_the_plot_can_be_chosen_and_has_its_numbers_below(site: Site) -> None:
    async with site.visit() as visit:
        page = visit.page
        await visit.go("/usage")
        await page.get_by_label("Days", exact=True).select_option("90")
        await page.get_by_label("Shown", exact=True).select_option("runs")
        await page.get_by_label("Group", exact=True).select_option("family")
        await submit(page, "Show")
        await expect(page.get_by_role("img", name="runs by day, the last 90 days, of family")).to_be_visible()
        bars = await page.locator("#plot rect[class] title").all_text_contents()
        counted = sum(int(bar.rpartition(": ")[2].split()[0]) for bar in bars)
        assert await page.locator("#by-group tbody td").first.inner_text() == str(counted)


async def test_what_was_refused_can_be_allowed(site: Site) -> None:
    async with site.visit() as visit:
        page = visit.page
        await visit.go("/audit?group=family")
        row = page.locator("tr", has_text="pastebin.com")
        await expect(row).to_contain_text("12")
        await row.get_by_role("button", name="Allow").click()
        await page.wait_for_url("**/groups/family/settings")
        await expect(page.locator("#network_allow")).to_have_value("example.org\npastebin.com")


async def test_without_its_script_the_page_works_by_reload(site: Site) -> None:
    async with site.visit(script=False) as visit:
        page = visit.page
        await visit.go("/groups/main")
        await page.get_by_label("Message to Main").fill("are you there?")
        await submit(page, "Send")
        await expect(page.locator("#lines")).to_contain_text("are you there?")
        await visit.go("/tasks")
        await page.get_by_label("When", exact=True).fill("often")
        await page.get_by_label("Instruction").fill("x")
        await submit(page, "Add")
        await expect(page.get_by_role("alert")).to_contain_text("five fields")
        visit.expected += 1


@asynccontextmanager
async def host_on(wa: FakeWhatsApp, world: World) -> AsyncGenerator[str]:
    """A host whose WhatsApp is this one. Yields the page's address."""

    def channels(home: Home, settings: Settings, clock: Clock) -> list[Channel]:
        return [LocalChannel(), WhatsAppChannel(home, settings, clock, command=wa.launcher)]

    host = Host(world.home, load_settings(world.home), channels=channels)
    async with anyio.create_task_group() as group:
        await group.start(host.run)
        async with Client(world.home) as client:
            port = (await client.get("/v1/status"))["page"]["port"]
        yield address(port, page_token(world.home.page_token))
        host.stop()


async def test_whatsapp_is_linked_by_the_code_on_the_page_and_unlinked_again(site: Site, tmp_path: Path) -> None:
    with make_world(say("x"), say("x"), engine="bubblewrap") as world:
        async with (
            FakeWhatsApp(tmp_path) as wa,
            host_on(wa, world) as printed,
            visiting(site.browser, printed, site.pictures) as visit,
        ):
            page = visit.page
            await visit.go("/whatsapp")
            await expect(page.locator("#connection-state")).to_contain_text("no WhatsApp account is linked")
            await submit(page, "Show a code")
            picture = page.get_by_role("img", name="QR code to scan with WhatsApp on the phone")
            await picture.wait_for(timeout=60_000)
            await visit.check()
            await visit.picture("whatsapp-code")
            await submit(page, "Stop")
            await page.get_by_label("Phone number").fill("+1 555 0901")
            await submit(page, "Show a code")
            code = await page.locator("#link output").inner_text(timeout=60_000)
            await wa.enter_code(code, wa.account("15550901", "Andy"))
            await expect(page.locator("#link")).to_contain_text("This machine is linked", timeout=60_000)
            await expect(page.locator("#connection-state")).to_contain_text("+15550901", timeout=60_000)
            await expect(page.locator("#connection-state dd.fine")).to_have_text("connected", timeout=60_000)
            await expect(page.locator("#history")).to_contain_text("unlinked")
            await visit.check()
            await visit.picture("whatsapp-linked")
            await submit(page, "Ask which groups there are")
            await page.wait_for_url("**/groups")
            await visit.go("/whatsapp")
            await sure(page, "Unlink")
            await expect(page.locator("#connection-state")).to_contain_text("logged out", timeout=60_000)
            await page.get_by_role("button", name="Show a code").wait_for()
            await visit.picture("whatsapp-unlinked")
