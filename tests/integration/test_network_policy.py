"""What a group may reach, how much, and what is kept of it: the gateway on real sockets, the log in real SQLite."""

import json
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import anyio
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from nanoclaw.cli import app
from nanoclaw.config import Home
from nanoclaw.errors import StoreError, UsageError
from nanoclaw.gateway import Bounds, Network, Policy, Quota
from nanoclaw.gateway.counts import added, counts_of
from nanoclaw.groups import GroupRegistry, change_groups, new_entry
from nanoclaw.hosts import Rules, parse_address, parse_pattern
from nanoclaw.model import (
    Folder,
    NetworkCounts,
    NetworkDecision,
    NetworkPolicy,
    NetworkReason,
    NetworkVerdict,
    TokenUsage,
)
from nanoclaw.network_log import NetworkLog
from nanoclaw.pulse import Pulse
from nanoclaw.store import network
from nanoclaw.store.database import Connection, Database, connect, transaction
from tests.integration.gateway_rig import (
    MAIN,
    SHORT,
    Detour,
    Line,
    Sandbox,
    Start,
    api,
    open_network,
    serving,
    started,
)

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 31, 23, 59, 30, tzinfo=UTC)
TODAY = NOW.date()
FAMILY = Folder("family")

P = ParamSpec("P")
T = TypeVar("T")


class Noon:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at


def allowing(*hosts: str, private: tuple[str, ...] = (), mode: NetworkPolicy = "allowlist") -> Policy:
    return Policy(
        folder=MAIN,
        mode=mode,
        allowed=Rules.allowing(map(parse_pattern, hosts)),
        private=frozenset(map(parse_address, private)),
    )


def quota(requests: int = 1000, upload: int = 1 << 40, download: int = 1 << 40) -> Quota:
    return Quota(requests_per_minute=requests, upload_bytes=upload, download_bytes=download)


@pytest.fixture
def directory() -> Generator[Path]:
    """A place whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="nc-", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def start(directory: Path) -> Start:
    """Starts a gateway with `main` open."""
    return partial(started, directory)


async def echo(line: Line) -> None:
    """Sends back what comes, eight characters at a time."""
    while True:
        await line.send(await line.exactly(8))


async def open_tunnel(client: Line, host: str) -> str:
    """Ask for a tunnel; the first line of the answer."""
    await client.send(f"CONNECT {host} HTTP/1.1\r\nHost: x\r\n\r\n")
    first, headers = await client.head()
    if not first.startswith("HTTP/1.1 200"):
        await client.body(headers)
    return first


def verdicts(sandbox: Sandbox) -> list[tuple[str, NetworkVerdict, NetworkReason]]:
    return [(f"{each.host}:{each.port}", each.verdict, each.reason) for each in sandbox.noted]


# --- which hosts -----------------------------------------------------------------------------------------------------


async def test_a_host_that_is_not_listed_is_refused_before_its_name_is_looked_up_and_the_agent_is_told(start: Start):
    sentence = (
        "example.com is not on this group's list; the owner can allow it: nanoclaw network allow main example.com"
    )
    async with serving() as server:
        net = open_network(server.port)
        async with start(server.port, policy=allowing("example.org"), network=net) as sandbox:
            async with await sandbox.connect() as client:
                first = await open_tunnel(client, "example.com:443")
                assert first == f"HTTP/1.1 403 NanoClaw gateway: {sentence}"
                await client.send("GET http://example.com/ HTTP/1.1\r\nHost: x\r\n\r\n")
                assert await client.refusal() == (403, f"NanoClaw gateway: {sentence}")
            assert await sandbox.ask("GET http://example.org/") == (200, "1")
    assert [host for host, _ in net.asked] == ["example.org"]
    assert verdicts(sandbox) == [
        ("example.com:443", "refused", "policy"),
        ("example.com:80", "refused", "policy"),
        ("example.org:80", "allowed", "listed"),
    ]


async def test_a_group_without_a_network_reaches_its_provider_and_nothing_else(start: Start):
    async with serving() as server, start(server.port, policy=allowing("github.com", mode="none")) as sandbox:
        assert (await sandbox.ask("POST /openai/responses", "hello"))[0] == 200
        status, body = await sandbox.ask("GET http://github.com/")
    assert (status, "nanoclaw network set main allowlist" in body) == (403, True)
    assert verdicts(sandbox) == [
        (f"127.0.0.1:{server.port}", "allowed", "provider"),
        ("github.com:80", "refused", "policy"),
    ]


async def test_a_group_that_nobody_has_given_a_policy_reaches_its_provider_only(start: Start):
    async with serving() as server, start(server.port) as sandbox:
        await sandbox.gateway.open(FAMILY, api(server.port))
        family = Sandbox(sandbox.gateway, sandbox.socket.parent.parent / FAMILY / "gateway.sock", [])
        assert (await family.ask("GET /openai/x"))[0] == 200
        assert (await family.ask("GET http://github.com/"))[0] == 403


async def test_a_policy_counts_for_the_next_request_of_an_open_connection(start: Start):
    async with (
        serving() as server,
        start(server.port, policy=allowing(), network=open_network(server.port)) as sandbox,
        await sandbox.connect() as client,
    ):
        statuses: list[int] = []
        for policy in (allowing(), allowing("example.com"), allowing()):
            sandbox.gateway.follow({MAIN: policy})
            await client.send("GET http://example.com/ HTTP/1.1\r\nHost: x\r\n\r\n")
            statuses.append((await client.answer())[0])
            await anyio.wait_all_tasks_blocked()  # the request is over for the gateway, too
    assert statuses == [403, 200, 403]


async def test_open_tunnels_to_hosts_that_are_no_longer_allowed_are_closed_and_the_others_go_on(start: Start):
    async with serving(echo) as server:
        both = allowing("a.example", "b.example")
        async with (
            start(1, policy=both, network=open_network(server.port)) as sandbox,
            await sandbox.connect() as one,
            await sandbox.connect() as other,
        ):
            for client, host in ((one, "a.example"), (other, "b.example")):
                assert "200" in await open_tunnel(client, f"{host}:443")
                await client.send("hello 12")
                assert await client.exactly(8) == "hello 12"
            sandbox.gateway.follow({MAIN: allowing("b.example")})
            assert await one.is_closed()
            await other.send("go on 34")
            assert await other.exactly(8) == "go on 34"
            (cut,) = sandbox.noted
    assert (cut.host, cut.verdict, cut.reason, cut.uploaded, cut.downloaded) == ("a.example", "refused", "policy", 8, 8)


async def test_a_download_from_a_host_that_is_no_longer_allowed_is_cut(start: Start):
    async def script(line: Line) -> None:
        await server.take(line)
        await line.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome")
        await line.is_closed()

    async with (
        serving(script) as server,
        start(1, policy=allowing("a.example"), network=open_network(server.port)) as sandbox,
        await sandbox.connect() as client,
    ):
        await client.send("GET http://a.example/ HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.head()
        assert await client.exactly(4) == "some"
        sandbox.gateway.follow({})
        assert await client.is_closed()


async def test_a_private_place_is_reached_where_the_owner_has_named_it_and_the_groups_list_has_it(start: Start):
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with serving() as server:
        place = f"nas.home:{server.port}"
        for policy, status in (
            (allowing(place, private=(place,)), 200),
            (allowing(place), 403),
            (allowing(private=(place,)), 403),
        ):
            async with start(1, policy=policy, network=Network(resolve)) as sandbox:
                assert (await sandbox.ask(f"GET http://{place}/"))[0] == status
    assert server.connections == 1


async def test_a_name_that_leads_to_a_clouds_metadata_is_refused_even_if_it_is_named_as_private(start: Start):
    async with serving() as server:
        net = Detour(server.port, "169.254.169.254")
        policy = allowing("meta.home:80", private=("meta.home:80",))
        async with start(1, policy=policy, network=net) as sandbox:
            assert (await sandbox.ask("GET http://meta.home/"))[0] == 403
    assert (server.connections, verdicts(sandbox)) == (0, [("meta.home:80", "refused", "address")])


async def test_a_provider_that_cannot_be_reached_is_no_request_to_a_host(start: Start):
    async with start(1) as sandbox:
        assert (await sandbox.ask("GET /openai/x"))[0] == 502
        counts = sandbox.gateway.counts(MAIN)
    assert verdicts(sandbox) == [("127.0.0.1:1", "failed", "provider")]
    assert (counts.requests, counts.provider_requests) == (0, 1)


async def test_a_host_that_cannot_be_reached_is_a_failure_and_no_refusal(start: Start):
    async def resolve(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    async with start(1, network=Network(resolve)) as sandbox:
        assert (await sandbox.ask("GET http://example.com/"))[0] == 502
    assert verdicts(sandbox) == [("example.com:80", "failed", "unreachable")]


# --- how much --------------------------------------------------------------------------------------------------------


async def test_too_many_requests_are_refused_with_a_sentence_and_the_provider_is_still_there(start: Start):
    bounds = Bounds(pause_seconds=0.0)
    async with (
        serving() as server,
        start(server.port, policy=allowing(), quota=quota(requests=2), bounds=bounds) as sandbox,
    ):
        statuses = [(await sandbox.ask("GET http://example.com/"))[0] for _ in range(3)]
        assert "too many requests" in (await sandbox.ask("GET http://example.com/"))[1]
        assert (await sandbox.ask("GET /openai/x"))[0] == 200
    assert statuses == [403, 403, 429]
    assert verdicts(sandbox)[-2] == ("example.com:80", "refused", "rate")


async def test_too_many_requests_to_the_provider_are_refused_too(start: Start):
    bounds = Bounds(pause_seconds=0.0, provider_requests_per_minute=1)
    async with serving() as server, start(server.port, bounds=bounds) as sandbox:
        assert [(await sandbox.ask("GET /openai/x"))[0] for _ in range(2)] == [200, 429]


async def test_a_day_whose_volume_is_used_up_is_over_for_hosts_and_not_for_the_provider(start: Start):
    clock = Noon()

    async def script(line: Line) -> None:
        while True:
            await server.take(line)
            await line.send(f"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n{'x' * 600}")

    async with serving(script) as server:
        small = {"quota": quota(download=1000), "clock": clock, "network": open_network(server.port)}
        async with start(server.port, **small) as sandbox, await sandbox.connect() as client:
            assert (await sandbox.ask("GET http://example.com/"))[0] == 200
            await client.send("GET http://example.com/ HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.head()
            assert await client.exactly(600) == "x" * 600  # this one passes the limit, and is the last
            assert await client.is_closed()
            status, body = await sandbox.ask("GET http://example.com/")
            assert (status, "midnight UTC" in body) == (429, True)
            assert (await sandbox.ask("GET /openai/x"))[0] == 200
            clock.at = NOW + timedelta(minutes=1)
            assert (await sandbox.ask("GET http://example.com/"))[0] == 200
    assert [reason for _, _, reason in verdicts(sandbox)] == ["open", "volume", "volume", "provider", "open"]


@pytest.mark.parametrize("way", ["upload", "download"])
async def test_an_open_tunnel_ends_when_the_days_volume_is_used_up(start: Start, way: str):
    async with serving(echo) as server:
        limited = quota(upload=16) if way == "upload" else quota(download=16)
        async with (
            start(1, quota=limited, network=open_network(server.port)) as sandbox,
            await sandbox.connect() as client,
        ):
            await open_tunnel(client, "example.com:443")
            await client.send("12345678")
            assert await client.exactly(8) == "12345678"
            await client.send("12345678")
            assert await client.is_closed()
    assert verdicts(sandbox) == [("example.com:443", "refused", "volume")]


async def test_what_was_counted_earlier_that_day_counts(start: Start):
    clock = Noon()
    async with serving() as server:
        net = open_network(server.port)
        async with start(server.port, quota=quota(upload=1000), clock=clock, network=net) as sandbox:
            sandbox.gateway.resume(TODAY, {MAIN: NetworkCounts(requests=7, uploaded=1000)})
            assert (await sandbox.ask("GET http://example.com/"))[0] == 429
            counts = sandbox.gateway.counts(MAIN)
    assert (counts.requests, counts.refused, counts.uploaded) == (8, 1, 1000)


async def test_a_head_that_comes_drop_by_drop_is_cut_whatever_it_sends_between(start: Start):
    bounds = Bounds(head_seconds=SHORT)
    async with start(1, bounds=bounds) as sandbox, await sandbox.connect() as client:
        await client.send("GET /openai/x HTTP/1.1\r\nHost: x\r\n")

        async def dribble() -> None:
            with suppress(anyio.BrokenResourceError):
                while True:
                    await client.send("X-Drop: 1\r\n")
                    await anyio.sleep(SHORT / 20)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dribble)
            assert await client.is_closed()
            tasks.cancel_scope.cancel()


async def test_a_tunnel_of_which_one_end_has_closed_does_not_stay_open_for_ever(start: Start):
    async def script(line: Line) -> None:
        assert await line.exactly(5) == "hello"
        await line.end()
        assert await line.is_closed()
        closed.set()

    closed = anyio.Event()
    async with serving(script) as server:
        bounds = Bounds(idle_seconds=SHORT)
        async with (
            start(1, network=open_network(server.port), bounds=bounds) as sandbox,
            await sandbox.connect() as client,
        ):
            await open_tunnel(client, "example.com:443")
            await client.send("hello")
            await closed.wait()


async def test_a_flood_of_connections_of_one_group_waits_and_another_group_does_not(start: Start):
    bounds = Bounds(connections_per_second=2)
    async with serving() as server, start(server.port, bounds=bounds) as sandbox:
        await sandbox.gateway.open(FAMILY, api(server.port))
        family = Sandbox(sandbox.gateway, sandbox.socket.parent.parent / FAMILY / "gateway.sock", [])
        order: list[str] = []

        async def ask(who: Sandbox, name: str) -> None:
            assert (await who.ask("GET /openai/x"))[0] == 200
            order.append(name)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(ask, sandbox, "main")
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(ask, family, "family")
    assert len(order) == 5
    assert order[-1] == "main"


async def test_the_host_makes_room_for_the_open_files_of_many_groups(start: Start):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
    try:
        async with start(1):
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(8192, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- what is counted -------------------------------------------------------------------------------------------------


async def test_requests_bytes_and_tokens_are_counted_and_the_answer_passes_unchanged(start: Start):
    answer = 'data: {"type":"response.completed","response":{"usage":{"input_tokens":9,"output_tokens":2}}}\n\n'

    async def script(line: Line) -> None:
        while True:
            await server.take(line)
            await line.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                f"{len(answer):x}\r\n{answer}\r\n0\r\n\r\n"
            )

    async with serving(script) as server, start(server.port, policy=allowing()) as sandbox:
        assert await sandbox.ask("POST /openai/responses", "hello", "Accept-Encoding: br\r\n") == (200, answer)
        assert await sandbox.ask("POST /openai/responses", "hello") == (200, answer)
        await sandbox.ask("GET http://example.com/")
        counts = sandbox.gateway.counts(MAIN)
    assert [headers["accept-encoding"] for _, headers, _ in server.requests] == ["identity", "identity"]
    assert asdict(counts) == {
        **asdict(NetworkCounts()),
        "requests": 1,
        "refused": 1,
        "provider_requests": 2,
        "provider_uploaded": 10,
        "provider_downloaded": 2 * len(answer),
        "input_tokens": 18,
        "output_tokens": 4,
    }


# --- what is kept ----------------------------------------------------------------------------------------------------


def decision(
    host: str = "example.com", *, folder: Folder = FAMILY, at: datetime = NOW, **more: object
) -> NetworkDecision:
    values: dict[str, object] = {"port": 443, "verdict": "refused", "reason": "policy", **more}
    return NetworkDecision(at=at, folder=folder, host=host, **values)  # pyright: ignore[reportArgumentType]


class Flaky(Database):
    """A database whose disk is full, once."""

    def __init__(self, writer: Connection, reader: Connection) -> None:
        super().__init__(writer, reader)
        self.failed = anyio.Event()

    async def write(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        if not self.failed.is_set():
            self.failed.set()
            raise StoreError("the disk is full")
        return await super().write(fn, *args, **kwargs)


@asynccontextmanager
async def keeping(
    tmp_path: Path, kind: type[Database] = Database, *, tell_main: bool = False
) -> AsyncGenerator[tuple[NetworkLog, Database, Pulse]]:
    """A log on a database of its own, and the pulse that fires when `main` is told something; at the end, what the log
    holds is written."""
    groups, told = tmp_path / "groups.json", Pulse()
    change_groups(groups, lambda entries: entries.update({"local:main": new_entry("Main", "main", "@Andy", "now")}))
    with closing(connect(tmp_path / "n.db", NOW)) as writer, closing(connect(tmp_path / "n.db", NOW)) as reader:
        database = kind(writer, reader)
        async with NetworkLog(database, GroupRegistry(groups), Noon(), told, tell_main=tell_main) as kept:
            yield kept, database, told


def stored(tmp_path: Path) -> tuple[list[NetworkDecision], dict[Folder, NetworkCounts], list[str]]:
    """Rows, the oldest first; counts of today; what main is told."""
    db = connect(tmp_path / "n.db", NOW)
    told = [row["text"] for row in db.execute("SELECT text FROM outbox ORDER BY id")]
    found = network.recent(db, 10_000)[::-1], network.of_day(db, TODAY), told
    db.close()
    return found


async def test_what_is_noted_is_written_soon_and_the_rest_at_the_end(tmp_path: Path):
    async with (
        keeping(tmp_path, tell_main=True) as (kept, database, told),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(kept.run)
        kept.note(decision("early.example"))
        with anyio.fail_after(20):
            await told.after(0)
        assert [row.host for row in await database.read(network.recent, 9)] == ["early.example"]
        tasks.cancel_scope.cancel()
        kept.note(decision("late.example", verdict="allowed", reason="listed", uploaded=5, downloaded=7, ms=12))
    rows, counts, _ = stored(tmp_path)
    assert rows == [
        decision("early.example"),
        decision("late.example", verdict="allowed", reason="listed", uploaded=5, downloaded=7, ms=12),
    ]
    assert counts == {FAMILY: NetworkCounts(requests=2, refused=1, uploaded=5, downloaded=7)}


async def test_of_a_flood_rows_are_dropped_and_said_and_nothing_is_lost_of_the_counts_or_of_other_groups(
    tmp_path: Path,
):
    with capture_logs() as logs:
        async with keeping(tmp_path) as (kept, _, _):
            for number in range(3000):
                kept.note(decision(f"host-{number}.example"))
            kept.note(decision("quiet.example", folder=MAIN))
    rows, counts, _ = stored(tmp_path)
    assert {entry["event"]: (entry["folder"], entry["rows"]) for entry in logs} == {
        "network_log.dropped": (FAMILY, 3001 - len(rows))
    }
    assert rows[-1].host == "quiet.example"
    assert counts[FAMILY].requests == 3000


async def test_what_cannot_be_written_now_is_written_later(tmp_path: Path):
    usage = TokenUsage(input_tokens=5, output_tokens=1)
    with capture_logs() as logs:
        async with keeping(tmp_path, Flaky) as (kept, database, _), anyio.create_task_group() as tasks:
            assert isinstance(database, Flaky)
            kept.note(decision("example.com", verdict="allowed", reason="provider", usage=usage))
            tasks.start_soon(kept.run)
            with anyio.fail_after(20):
                await database.failed.wait()
            assert await database.read(network.recent, 1) == []
            tasks.cancel_scope.cancel()
    rows, counts, _ = stored(tmp_path)
    assert [entry["event"] for entry in logs] == ["network_log.not_written"]
    assert [row.host for row in rows] == ["example.com"]
    assert counts[FAMILY] == NetworkCounts(provider_requests=1, input_tokens=5, output_tokens=1)


async def test_main_is_told_once_a_day_of_each_host_that_was_refused_if_it_wants_to_be(tmp_path: Path):
    for _ in range(2):  # also after a restart
        async with keeping(tmp_path, tell_main=True) as (kept, _, _):
            for host in ("a.example", "a.example", "b.example"):
                kept.note(decision(host))
            kept.note(decision("ok.example", verdict="allowed", reason="listed"))
            kept.note(decision("", reason="request"))
    assert stored(tmp_path)[2] == [
        "family was refused a.example. To allow it: `nanoclaw network allow family a.example`",
        "family was refused b.example. To allow it: `nanoclaw network allow family b.example`",
    ]


async def test_an_agent_that_tries_a_thousand_hosts_makes_a_few_lines_in_main(tmp_path: Path):
    async with keeping(tmp_path, tell_main=True) as (kept, _, _):
        for number in range(900):
            kept.note(decision(f"host-{number}.example"))
    told = stored(tmp_path)[2]
    assert len(told) == 11
    assert told[-1] == "family was refused further hosts today: `nanoclaw network log family --denied`"


@pytest.mark.parametrize(("reason", "sentence"), [("rate", "too many requests"), ("volume", "send or fetch in a day")])
async def test_main_is_told_once_of_a_limit_in_any_case(tmp_path: Path, reason: NetworkReason, sentence: str):
    async with keeping(tmp_path) as (kept, _, _):
        for host in ("a.example", "b.example"):
            kept.note(decision(host, reason=reason))
    (told,) = stored(tmp_path)[2]
    assert sentence in told


def test_old_rows_and_too_many_of_one_group_are_forgotten(tmp_path: Path):
    db = connect(tmp_path / "n.db", NOW)
    many = [decision(f"{number}.example") for number in range(network.KEPT_OF_A_GROUP + 10)]
    with transaction(db):
        network.add(
            db,
            [decision("old.example", folder=MAIN, at=NOW - timedelta(days=31)), decision("new.example", folder=MAIN)],
        )
        network.add(db, many)
        network.count(db, MAIN, date(2024, 1, 1), NetworkCounts(requests=1))
        network.count(db, MAIN, TODAY, NetworkCounts(requests=1))
        network.prune(db, NOW)
    assert [row.host for row in network.recent(db, 10, MAIN)] == ["new.example"]
    rows = network.recent(db, 100_000, FAMILY)
    assert (len(rows), rows[0].host, rows[-1].host) == (network.KEPT_OF_A_GROUP, many[-1].host, "10.example")
    assert network.of_day(db, date(2024, 1, 1)) == {}
    assert network.of_day(db, TODAY) == {MAIN: NetworkCounts(requests=1)}
    db.close()


def test_the_log_can_be_asked_for_one_group_and_for_what_was_refused(tmp_path: Path):
    db = connect(tmp_path / "n.db", NOW)
    with transaction(db):
        network.add(
            db,
            [
                decision("a.example", folder=MAIN),
                decision("b.example"),
                decision("c.example", verdict="allowed", reason="listed"),
                decision("d.example", verdict="failed", reason="unreachable"),
            ],
        )
    assert [row.host for row in network.recent(db, 2)] == ["d.example", "c.example"]
    assert [row.host for row in network.recent(db, 9, denied=True)] == ["b.example", "a.example"]
    assert [row.host for row in network.recent(db, 9, FAMILY, denied=True)] == ["b.example"]
    db.close()


def test_counts_add_up_field_by_field():
    one = counts_of(decision(verdict="allowed", reason="open", uploaded=3, downloaded=4))
    assert added(one, counts_of(decision())) == NetworkCounts(requests=2, refused=1, uploaded=3, downloaded=4)


# --- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    entry = {**new_entry("Family", "family", "@Andy", "now"), "network": {"note": "kept"}}
    change_groups(home.registered_groups, lambda entries: entries.update({"local:family": entry}))
    return home


def command(home: Home, *arguments: str) -> str:
    """What `nanoclaw network …` prints, without a running host."""
    runner = CliRunner().invoke(app, ["--home", str(home.root), "network", *arguments], catch_exceptions=False)
    assert runner.exit_code == 0, runner.output
    return runner.stdout


def in_file(home: Home) -> dict[str, object]:
    return json.loads(home.registered_groups.read_text(encoding="utf-8"))["local:family"]["network"]


def test_to_allow_and_to_deny_undo_each_other_and_keep_what_they_do_not_know(home: Home):
    assert command(home, "allow", "family", "A.example", "*.b.example") == (
        "family may reach a.example\nfamily may reach *.b.example\n"
    )
    assert command(home, "allow", "family", "a.example") == "family may reach a.example\n"
    assert in_file(home) == {"note": "kept", "deny": [], "allow": ["a.example", "*.b.example"]}
    assert command(home, "deny", "local:family", "a.example", "github.com") == (
        "family may not reach a.example\nfamily may not reach github.com\n"
    )
    assert in_file(home) == {"note": "kept", "deny": ["a.example", "github.com"], "allow": ["*.b.example"]}


def test_what_another_list_or_the_policy_decides_is_said(home: Home):
    command(home, "deny", "family", "*.b.example")
    assert command(home, "allow", "family", "x.b.example") == "family may not reach x.b.example\n"
    assert command(home, "set", "family", "none") == "family: none\n"
    assert command(home, "allow", "family", "a.example") == "family may not reach a.example (its policy is none)\n"
    assert json.loads(command(home, "show", "family", "--json"))["policy"] == "none"
    assert command(home, "show", "family").startswith("family: none, by its own network.policy\nallow: x.b.example")


def test_what_is_no_host_changes_nothing(home: Home):
    before = home.registered_groups.read_bytes()
    with pytest.raises(UsageError, match="is no host"):
        command(home, "allow", "family", "a.example", "https://b.example")
    assert home.registered_groups.read_bytes() == before


def test_the_log_is_shown_to_people_and_to_programs(home: Home):
    db = connect(home.database, NOW)
    with transaction(db):
        network.add(db, [decision("a.example", port=8443), decision("b.example", folder=MAIN)])
    db.close()
    (shown,) = json.loads(command(home, "log", "family", "--json"))
    assert (shown["host"], shown["port"], shown["verdict"], shown["reason"]) == ("a.example", 8443, "refused", "policy")
    text = command(home, "log", "--denied", "-n", "1")
    assert "b.example:443" in text
    assert "a.example" not in text
