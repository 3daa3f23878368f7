"""The page, as requests see it; how it looks, and its script, are tried in tests/e2e/test_browser.py."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from nanoclaw.client import Client
from nanoclaw.clock import SystemClock
from nanoclaw.store.database import connect
from nanoclaw.testing.models import say
from nanoclaw.testing.world import World, make_world
from nanoclaw.web.access import cookie_name, page_token

pytestmark = pytest.mark.anyio


@dataclass
class Site:
    """A host's page, and a browser that holds its cookie."""

    world: World
    client: Client
    browser: httpx.AsyncClient
    origin: str

    async def post(self, path: str, **fields: str) -> httpx.Response:
        """Send a form, as a page of this site does."""
        return await self.browser.post(path, data=fields, headers={"origin": self.origin})


@asynccontextmanager
async def site(directory: Path) -> AsyncGenerator[Site]:
    """A host whose agents have no sign-in: nothing here needs them."""
    with make_world(say("hello"), say("hello"), directory=directory) as world:
        world.register("family", provider="codex")
        async with world.hosting() as client:
            port = (await client.get("/v1/status"))["page"]["port"]
            origin = f"http://127.0.0.1:{port}"
            token = page_token(world.home.page_token)
            async with httpx.AsyncClient(
                base_url=origin, cookies={cookie_name(port): token}, follow_redirects=True
            ) as browser:
                yield Site(world, client, browser, origin)


async def test_the_printed_address_becomes_a_cookie_and_leaves_the_history(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        token = page_token(here.world.home.page_token)
        async with httpx.AsyncClient(base_url=here.origin) as stranger:
            assert (await stranger.get("/")).status_code == 403
            led = await stranger.get("/groups", params={"token": token, "x": "1"})
            assert led.status_code == 303
            assert led.headers["location"] == "/groups?x=1"
            for part in ("HttpOnly", "SameSite=strict"):
                assert part in led.headers["set-cookie"]
            assert (await stranger.get("/groups")).status_code == 200


async def test_every_answer_keeps_other_sites_out(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        for path in ("/", "/nowhere", "/static/page.js", "/healthz"):
            answer = await here.browser.get(path)
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "server" not in answer.headers


async def test_no_page_asks_another_machine_for_anything(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        for path in ("/", "/groups", "/groups/main", "/runs", "/tasks"):
            text = (await here.browser.get(path)).text
            addresses = re.findall(r'(?:src|href|action)="([^"]*)"', text)
            assert addresses
            assert all(re.match(r"[/?#](?!/)", address) for address in addresses), path


async def test_a_message_is_written_and_what_people_say_is_shown_as_text(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        answer = await here.post("/groups/main/messages", text="<script>alert(1)</script> hello")
        assert answer.status_code == 200
        assert "&lt;script&gt;alert(1)&lt;/script&gt; hello" in answer.text
        assert "<script>alert" not in answer.text


async def test_an_empty_message_is_refused_with_a_reason(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        answer = await here.post("/groups/main/messages", text="  ")
        assert answer.status_code == 400
        assert "a message has 1 to" in answer.text


async def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        for path in ("/groups/nobody", "/runs/99", "/tasks/task-nothing"):
            answer = await here.browser.get(path)
            assert answer.status_code == 404, path
            assert "there is no" in answer.text


async def test_a_task_is_made_changed_paused_and_cancelled(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        made = await here.post(
            "/tasks", target_group="family", schedule_type="cron", schedule_value="0 9 * * 1", prompt="the bins"
        )
        task_id = made.url.path.removeprefix("/tasks/")
        assert "At 09:00 on Monday" in made.text
        changed = await here.post(
            f"/tasks/{task_id}", schedule_type="cron", schedule_value="30 9 * * 1", prompt="bins!"
        )
        assert "At 09:30 on Monday" in changed.text
        assert "paused" in (await here.post(f"/tasks/{task_id}/pause")).text
        assert "active" in (await here.post(f"/tasks/{task_id}/resume")).text
        assert "cancelled" in (await here.post(f"/tasks/{task_id}/cancel")).text
        wrong = await here.post(
            "/tasks", target_group="family", schedule_type="cron", schedule_value="often", prompt="x"
        )
        assert wrong.status_code == 400
        assert "five fields" in wrong.text


async def test_settings_are_checked_as_an_edit_of_the_file_is(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        right = await here.post("/groups/family/settings/limits", timeout="60", tokens="1000", usd="")
        assert right.url.path == "/groups/family/settings"
        entry = here.world.home.registered_groups.read_text(encoding="utf-8")
        assert '"timeout": 60000' in entry
        assert '"tokensPerDay": 1000' in entry
        wrong = await here.post("/groups/family/settings/thinks", provider="hal", codex_level="all")
        assert wrong.status_code == 400
        assert "provider" in wrong.text
        assert "claude or codex" in wrong.text
        assert here.world.home.registered_groups.read_text(encoding="utf-8") == entry
        assert (await here.post("/groups/family/settings/everything")).status_code == 404


async def test_nothing_is_added_to_a_file_that_somebody_has_broken(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        path = here.world.home.registered_groups
        broken = path.read_text(encoding="utf-8").replace('"codex"', '"hal"')
        path.write_text(broken, encoding="utf-8")
        answer = await here.post("/groups/family/settings/limits", timeout="60")
        assert answer.status_code == 400
        assert "hal" in answer.text
        assert path.read_text(encoding="utf-8") == broken


async def test_main_cannot_be_unregistered_and_a_folder_belongs_to_one_group(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        assert "cannot be unregistered" in (await here.post("/groups/main/unregister")).text
        chat = {"jid": "local:second", "name": "Second", "folder": "family", "trigger": "@Andy", "provider": "codex"}
        again = await here.post("/register", **chat)
        assert again.status_code == 400
        assert "belongs to" in again.text
        made = await here.post("/register", **{**chat, "folder": "second"})
        assert made.url.path == "/groups/second/settings"
        assert (await here.post("/groups/second/unregister")).url.path == "/groups"
        assert (await here.browser.get("/groups/second")).status_code == 404


async def test_a_key_is_kept_and_told_to_nobody(tmp_path: Path) -> None:
    key = "sk-ant-api03-" + "k" * 40
    async with site(tmp_path) as here:
        kept = await here.post("/signins/key", name="ANTHROPIC_API_KEY", key=key, group="")
        assert key not in kept.text
        assert key not in str(kept.url)
        assert key in here.world.home.env.read_text(encoding="utf-8")
        assert "Used by main" in kept.text
        for name, value in (("PATH", "/tmp"), ("ANTHROPIC_API_KEY", "with a space"), ("OPENAI_API_KEY", "")):
            wrong = await here.post("/signins/key", name=name, key=value)
            assert wrong.status_code == 400, name
        out = await here.post("/signins/out", provider="claude", group="")
        assert key not in here.world.home.env.read_text(encoding="utf-8")
        assert "Used by main" not in out.text
        assert (await here.post("/signins/out", provider="hal")).status_code == 400
        log = here.world.home.logs
        assert not any(key in path.read_text(encoding="utf-8") for path in log.rglob("*") if path.is_file())


async def test_a_run_that_does_not_go_on_cannot_be_stopped(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        assert (await here.post("/runs/7/stop")).status_code == 404
        assert (await here.post("/groups/main/stop", all="yes")).status_code == 200


async def test_the_page_says_who_was_turned_away_and_keeps_nothing_that_they_offered(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        async with httpx.AsyncClient(base_url=here.origin) as stranger:
            await stranger.get("/runs", params={"token": "a-guess"})
            await stranger.get("/%1b[31m<b>", headers={"authorization": "Bearer another-guess"})
        text = (await here.browser.get("/audit")).text
        assert "GET /runs" in text
        assert "needs its key" in text
        assert "guess" not in text
        assert "<b>" not in text.partition("Visitors")[2]


async def test_another_home_on_this_machine_has_another_cookie(tmp_path: Path) -> None:
    """A browser has one jar for all ports of a machine."""
    async with site(tmp_path / "a") as first, site(tmp_path / "b") as second, httpx.AsyncClient() as browser:
        for here in (first, second):
            await browser.get(here.origin, params={"token": page_token(here.world.home.page_token)})
        for here in (first, second):
            assert (await browser.get(f"{here.origin}/groups")).status_code == 200


async def test_a_host_that_can_write_is_well_as_everybody_may_know(tmp_path: Path) -> None:
    async with site(tmp_path) as here, httpx.AsyncClient(base_url=here.origin) as anybody:
        answers = [await anybody.get("/healthz") for _ in range(3)]
        assert [(answer.status_code, answer.text) for answer in answers] == [(200, "ok\n")] * 3


async def test_a_host_that_cannot_write_is_not_well_and_does_not_say_why(tmp_path: Path) -> None:
    async with site(tmp_path) as here, httpx.AsyncClient(base_url=here.origin) as anybody:
        with closing(connect(here.world.home.database, SystemClock().now())) as db:
            db.execute("DROP TABLE health")
        answer = await anybody.get("/healthz")
        assert (answer.status_code, answer.text) == (503, "not well\n")


async def test_what_asks_for_nonsense_is_told_so(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        for path in (
            "/groups/family?before=x",
            "/runs?before=-1",
            "/usage?days=7000",
            "/usage?measure=joy",
        ):
            assert (await here.browser.get(path)).status_code == 400, path
        for path in ("/audit?group=nobody", "/runs?group=nobody", "/groups/main/said/message/7", "/tasks/x/explode"):
            assert (await here.browser.get(path)).status_code in (404, 405), path
        much = await here.browser.post(
            "/groups/main/messages", content=b"text=" + b"x" * (2 << 20), headers={"origin": here.origin}
        )
        assert much.status_code == 400
        assert "more than a form" in much.text


async def test_a_message_from_the_page_is_the_owners(tmp_path: Path) -> None:
    with make_world(say("hello"), say("hello"), directory=tmp_path, settings='owners = ["4915112345678"]') as world:
        world.register("family", senders={"policy": "allowlist", "allow": []})
        async with world.hosting() as client:
            port = (await client.get("/v1/status"))["page"]["port"]
            origin = f"http://127.0.0.1:{port}"
            cookies = {cookie_name(port): page_token(world.home.page_token)}
            async with httpx.AsyncClient(base_url=origin, cookies=cookies, follow_redirects=True) as browser:
                answer = await browser.post(
                    "/groups/family/messages", data={"text": "/level readonly"}, headers={"origin": origin}
                )
                assert "stranger" not in answer.text
                assert "at the level readonly" in answer.text
