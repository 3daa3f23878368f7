"""How long the page takes on an installation that has been in use for months."""

import time
from contextlib import closing
from dataclasses import dataclass
from statistics import median

import httpx
from tests.large import FOLDERS, fill

from bench.measures import a_host, a_world
from nanoclaw.clock import SystemClock, iso
from nanoclaw.groups import Entries, change_groups, new_entry
from nanoclaw.store.database import connect, transaction
from nanoclaw.testing.world import World
from nanoclaw.web.access import cookie_name, page_token

_TIMES = 9
_PATHS = (
    *("/", "/groups", "/groups/family", "/groups/family?before=30000.3000", "/groups/family/settings", "/register"),
    *("/runs", "/runs?group=g7", "/runs/5000", "/tasks", "/signins", "/whatsapp", "/usage", "/usage?days=90"),
    *("/audit", "/audit?group=family", "/undelivered"),
)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Median seconds of the slowest of all pages, and of one in the middle."""

    slowest: float
    usual: float


async def page(engine: str) -> Answers:
    """Every page in turn, several times."""
    with a_world(engine) as world:
        _fill(world)
        async with a_host(world) as (client, _):
            port = (await client.get("/v1/status"))["page"]["port"]
            cookies = {cookie_name(port): page_token(world.home.page_token)}
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", cookies=cookies, timeout=30) as browser:
                found = [median([await _seconds(browser, path) for _ in range(_TIMES)]) for path in _PATHS]
    return Answers(slowest=max(found), usual=median(found))


def _fill(world: World) -> None:
    now = SystemClock().now()

    def register(entries: Entries) -> None:
        for folder in FOLDERS:
            entries[f"local:{folder}"] = new_entry(folder.title(), folder, "@Andy", iso(now))

    change_groups(world.home.registered_groups, register)
    with closing(connect(world.home.database, now)) as db, transaction(db):
        fill(db, now)


async def _seconds(browser: httpx.AsyncClient, path: str) -> float:
    started = time.monotonic()
    answer = await browser.get(path)
    assert answer.status_code == 200, (path, answer.text)
    return time.monotonic() - started
