"""A home in which there is everything that the page can show, and a browser that looks at it."""

import json
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from axe_playwright_python.async_playwright import Axe  # pyright: ignore[reportMissingTypeStubs]
from playwright.async_api import Browser, ConsoleMessage, Error, Page, Request, async_playwright

from nanoclaw import taskbook
from nanoclaw.clock import SystemClock, iso
from nanoclaw.model import (
    Folder,
    InboundChat,
    InboundMessage,
    InboundReceipt,
    Jid,
    MediaFile,
    Member,
    NetworkDecision,
    NetworkReason,
    OutgoingFile,
    Quote,
    RunId,
    Seq,
    TokenUsage,
)
from nanoclaw.sandbox import proof
from nanoclaw.store import endings, messages, network, outbox, runs
from nanoclaw.store.database import Connection, connect, transaction
from nanoclaw.store.endings import Failing, Success
from nanoclaw.testing.world import World

FAMILY: Final = Jid("local:family")
STRANGE: Final = Jid("local:strange")
HOSTILE_NAME: Final = "<b>Mallory</b> \u202egnirts\u202c \x1b[31mred"
HOSTILE: Final = (
    '<script>document.title = "owned"</script><img src=x onerror="document.title=\'owned\'"> \x1b[2J\x1b[31m'
    " \u202eevil\u202c &lt;b&gt; {{ 7 * 7 }} javascript:alert(1) " + "W" * 3000
)
LONG: Final = "All work and no play. " * 5_000
"""110,000 characters."""

_EVERYTHING: Final[dict[str, Any]] = {"resultTypes": ["violations"]}
_COLOURS: Final = {**_EVERYTHING, "runOnly": {"type": "rule", "values": ["color-contrast"]}}

DESK: Final = {"width": 1280, "height": 900}
PHONE: Final = {"width": 390, "height": 844}


def furnish(world: World) -> None:
    """Put into the home what people and agents have done so far."""
    world.secrets(ANTHROPIC_API_KEY="sk-ant-api03-0123456789abcdef", OPENAI_API_KEY="sk-0123456789abcdef0123")
    world.register("family", provider="codex", network={"policy": "allowlist", "allow": ["example.org"]})
    world.register("strange", name=HOSTILE_NAME)
    now = SystemClock().now()
    with closing(connect(world.home.database, now)) as db, transaction(db):
        _talk(db, now)
        _strangers(db, now)
        _days(db, now)
        _refusals(db, now)
        _task(db, now)
    _logs(world)
    mailbox = world.home.mailboxes / "family" / "refused"
    mailbox.mkdir(parents=True)
    (mailbox / f"{int(now.timestamp() * 1e9):020d}-0123456789abcdef-tasks-everything.json").write_text("{}")
    failed = {"mounts": "/workspace/other could be written"}
    verdict = proof.Verdict(failed=failed, milliseconds=3.0)
    proof.keep(world.home, proof.Record(folder=Folder("strange"), sandbox="podman", at=now, verdict=verdict))


def _said(db: Connection, chat: Jid, who: str, text: str, at: datetime, **more: Any) -> Seq:  # noqa: ANN401
    files = more.pop("files", ())
    standing = more.pop("standing", "member")
    message = InboundMessage(
        channel="local", account="local", chat=chat, chat_name=chat, sender=f"local:{who}", sender_name=who,
        ext_id=f"{who}-{at.timestamp()}", text=text, sent_at=at, **more,
    )  # fmt: skip
    return messages.insert(db, message, at, standing, files, wakes=True).seq


def _answered(db: Connection, folder: str, chat: Jid, text: str, at: datetime, **usage: Any) -> RunId:  # noqa: ANN401
    """A run that took a while and said that."""
    runs.queue(db, Folder(folder), chat, at)
    (run,) = runs.claim(db, at, 1, [Folder(name) for name in ("main", "family", "strange") if name != folder])
    success = Success(reply=text, provider="codex", session_id=None, usage=TokenUsage(**usage))
    assert endings.finish(db, run, success, at + timedelta(seconds=8))
    return run.id


def _delivered(db: Connection, now: datetime, *states: str) -> None:
    """Everything that waits goes out, and comes as far as these."""
    for item in outbox.take(db, now):
        outbox.part_sent(db, item, 1, f"wire-{item.id}", now, last=True)
        for state in states:
            outbox.note_receipt(db, InboundReceipt(chat=item.chat, platform_id=f"wire-{item.id}", state=state, at=now))  # pyright: ignore[reportArgumentType]


def _talk(db: Connection, now: datetime) -> None:
    start = now - timedelta(hours=2)
    minute = timedelta(minutes=1)
    bob = _said(db, FAMILY, "Bob", "@Andy what do we need for the cake?", start)
    _said(db, FAMILY, "Ann", "we have eggs", start + minute)
    picture = MediaFile(kind="image", mime="image/jpeg", size=9, name="fridge.jpg", file="1.jpg")
    lost = MediaFile(kind="document", mime="application/pdf", size=99, name="recipe.pdf", problem="it is too large")
    quote = Quote(ext_id="x", sender="local:Ann", sender_name="Ann", text="we have eggs", ours=False)
    _said(db, FAMILY, "Bob", "and this is in the fridge", start + 2 * minute, files=(picture, lost), quote=quote)
    _answered(
        db, "family", FAMILY, "Flour, sugar and butter.", start + 3 * minute, input_tokens=12_000, output_tokens=80
    )
    db.execute("UPDATE outbox SET answers = ?", (bob,))
    _delivered(db, start + 4 * minute, "server", "device", "read")
    edited = _said(db, FAMILY, "Ann", "and milk, please", start + 5 * minute)
    messages.rewrite(db, edited, "and two litres of milk, please", start + 6 * minute)
    messages.withdraw(db, _said(db, FAMILY, "Ann", "oops", start + 7 * minute), start + 8 * minute)
    _said(db, FAMILY, "Eve", "@Andy tell me everything", start + 9 * minute, standing="stranger")
    sheet = OutgoingFile(file="x/list.pdf", name="list.pdf", mime="application/pdf")
    outbox.put(db, "k1", FAMILY, "message", "Here is the list.", None, start + 10 * minute, files=[sheet])
    _delivered(db, start + 10 * minute, "server", "device")
    outbox.put(db, "k2", FAMILY, "notice", "Still at it, for 0:01:00 now.", None, start + 11 * minute)
    for item in outbox.take(db, start + 11 * minute):
        outbox.reject(db, item, "the platform refuses it", start + 11 * minute)
    _failed(db, start + 12 * minute)


def _failed(db: Connection, at: datetime) -> None:
    _said(db, FAMILY, "Bob", "@Andy and for the soup?", at)
    runs.queue(db, Folder("family"), FAMILY, at)
    (run,) = runs.claim(db, at, 1, [Folder("main"), Folder("strange")])
    notice = "Codex cannot be reached; I tried four times."
    failing = Failing(kind="network", detail="no route to host", provider="codex", retry_at=None, notice=notice)
    endings.fail(db, run, failing, at + timedelta(seconds=4))
    _delivered(db, at + timedelta(seconds=5), "server")


def _strangers(db: Connection, now: datetime) -> None:
    _said(db, STRANGE, HOSTILE_NAME, HOSTILE, now - timedelta(hours=1))
    _said(db, STRANGE, "Long", LONG, now - timedelta(minutes=59))
    _answered(db, "strange", STRANGE, HOSTILE, now - timedelta(minutes=58))
    _delivered(db, now - timedelta(minutes=57))
    for chat in (
        InboundChat(channel="whatsapp", chat=Jid("120363000000000002@g.us"), name="Book club", is_group=True),
        InboundChat(channel="whatsapp", chat=Jid("120363000000000003@g.us"), name=HOSTILE_NAME, is_group=True),
    ):
        messages.describe_chat(db, chat, now)
    people = (Member(address="local:Ann", name="Ann", admin=True), Member(address="local:Bob", name="Bob"))
    described = InboundChat(channel="local", chat=FAMILY, name="family", is_group=True, members=people)
    messages.describe_chat(db, described, now)


def _days(db: Connection, now: datetime) -> None:
    """Runs of the last days, in three groups."""
    rows = [
        (folder, f"local:{folder}", iso(now - timedelta(days=day, seconds=20)), iso(now - timedelta(days=day)),
         (day * 7919 + place * 104729) % 40_000 + 500, (day * 31) % 900, 0.01 * (day % 9 + 1) if place else None)
        for day in range(1, 11)
        for place, folder in enumerate(("main", "family", "strange"))
        if (day + place) % 4
    ]  # fmt: skip
    db.executemany(
        "INSERT INTO run (folder, chat, cause, state, attempt, due_at, created_at, started_at, ended_at, provider,"
        " input_tokens, output_tokens, cost_usd)"
        " VALUES (?1, ?2, 'messages', 'done', 1, ?3, ?3, ?3, ?4, 'claude', ?5, ?6, ?7)",
        rows,
    )
    db.execute("DELETE FROM cursor")


def _refusals(db: Connection, now: datetime) -> None:
    def refused(host: str, port: int, reason: NetworkReason) -> NetworkDecision:
        return NetworkDecision(
            at=now, folder=Folder("family"), host=host, port=port, verdict="refused", reason=reason
        )  # fmt: skip

    often = [refused("pastebin.com", 443, "policy")] * 12
    network.add(db, [*often, refused("10.0.0.1", 80, "address"), refused(HOSTILE_NAME, 443, "policy")])


def _task(db: Connection, now: datetime) -> None:
    draft = taskbook.Draft(
        folder=Folder("family"), prompt="Remind everybody of the bins.", schedule_type="cron",
        schedule_value="0 9 * * 1", timezone="Europe/Berlin", context_mode="group", missed="coalesce",
    )  # fmt: skip
    task = taskbook.add(db, draft, now)
    db.execute("UPDATE task SET failures = 4 WHERE id = ?", (task.id,))


def _logs(world: World) -> None:
    """What the run in `strange` left behind."""
    directory = world.home.run_logs(Folder("strange"))
    directory.mkdir(parents=True)
    told = [
        {"type": "started", "protocol": 2},
        {"type": "activity", "text": HOSTILE},
        {"type": "activity", "text": "$ ls -la"},
        {"type": "output", "text": LONG[:9000]},
        {"type": "usage", "inputTokens": 9000, "cachedInputTokens": 8000, "outputTokens": 70},
        {"type": "done"},
    ]
    at = iso(SystemClock().now())
    lines = [{"at": at, "what": "start", "sandbox": "podman", "provider": "codex", "prompt": "…"}]
    lines += [{"at": at, "what": "event", "event": json.dumps(event)} for event in told]
    (directory / "000003-1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@dataclass
class Visit:
    """A browser at the page. `wrong` is what its console said, and what it asked of other places."""

    page: Page
    origin: str
    pictures: Path
    wrong: list[str] = field(default_factory=list[str])
    expected: int = 0
    """How many refusals the test brings about on purpose: a browser complains of each."""

    async def go(self, path: str) -> None:
        """Look at another page of it."""
        await self.page.goto(self.origin + path)

    async def picture(self, name: str) -> None:
        """Keep how it looks; the directory is made if there is none."""
        await self.page.screenshot(path=self.pictures / f"{name}.png", full_page=True)

    async def check(self, *, colours_alone: bool = False) -> None:
        """Nothing that axe finds may be serious, and nothing may be wider than the window."""
        await _check_access(self.page, _COLOURS if colours_alone else _EVERYTHING)
        wide = await self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{self.page.url} is {wide} pixels too wide"

    def note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"{message.text} ({message.location.get('url')})")

    def note_request(self, request: Request) -> None:
        if not request.url.startswith((self.origin, "data:")):
            self.wrong.append(f"asked for {request.url}")

    def note_error(self, error: Error) -> None:
        self.wrong.append(str(error))


async def _check_access(page: Page, options: dict[str, Any]) -> None:
    axe: Any = Axe()  # without types of its own
    found: dict[str, Any] = (await axe.run(page, options=options)).response
    bad = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
    said = [(each["id"], each["help"], [node["html"][:200] for node in each["nodes"]][:3]) for each in bad]
    assert not bad, (page.url, said)


def chromium() -> str | None:
    """The machine's own browser; None: the one that playwright has."""
    return shutil.which("chromium") or shutil.which("google-chrome")


@asynccontextmanager
async def browsing() -> AsyncGenerator[Browser]:
    """A browser without a window."""
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=chromium(), args=options)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visiting(
    browser: Browser, address: str, pictures: Path, *, phone: bool = False, dark: bool = False, script: bool = True
) -> AsyncGenerator[Visit]:
    """Somebody opens the printed address. At the end the console must have said nothing that was not expected."""
    context = await browser.new_context(
        viewport=PHONE if phone else DESK,  # pyright: ignore[reportArgumentType]
        color_scheme="dark" if dark else "light",
        java_script_enabled=script,
        reduced_motion="reduce",
    )
    try:
        page = await context.new_page()
        visit = Visit(page=page, origin=address.partition("/?")[0], pictures=pictures)
        page.on("console", visit.note_message)
        page.on("pageerror", visit.note_error)
        page.on("request", visit.note_request)
        await page.goto(address)
        yield visit
        assert len(visit.wrong) == visit.expected, visit.wrong
    finally:
        await context.close()
