"""The gateway on real sockets: a sandbox on one side, a server on loopback on the other."""

import os
import socket
import stat
import tempfile
from collections.abc import Generator
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute
from structlog.testing import capture_logs

from nanoclaw.errors import SandboxError
from nanoclaw.gateway import Bounds, Gateway, Network, Route
from nanoclaw.model import Folder
from tests.integration.gateway_rig import (
    KEY,
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

# Made for this test and trusted by nothing: an authority and server for localhost in one.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgrRN5APS1Tvx/pdQN
jWke6a2SrIsCCX+Sl2BPpR6whRWhRANCAAQFZk1SYj63TSifyNhuNK9Ep+UJjhAk
L/YRrDOoMPf7gwPFTQMmpwi/5FNiXiStaXN8w0gVOEiDUuvTNXfV7oi1
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBgDCCASegAwIBAgIBATAKBggqhkjOPQQDAjAZMRcwFQYDVQQDDA5mb3IgdGVz
dHMgb25seTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowGTEXMBUG
A1UEAwwOZm9yIHRlc3RzIG9ubHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQF
Zk1SYj63TSifyNhuNK9Ep+UJjhAkL/YRrDOoMPf7gwPFTQMmpwi/5FNiXiStaXN8
w0gVOEiDUuvTNXfV7oi1o14wXDAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQE
AwIChDAdBgNVHQ4EFgQUL2E/5/+5w4vLVQVQilOh0CZREGEwGgYDVR0RBBMwEYIJ
bG9jYWxob3N0hwR/AAABMAoGCCqGSM49BAMCA0cAMEQCIHGbcM5pkMF9+/F11NX9
wm/DP0X8GCGGNZO6B1pwjqVZAiBJmH527SaplpbfKH9V8V2VPxtIjCtSeNW3p2Ln
fTa7dA==
-----END CERTIFICATE-----
"""


@pytest.fixture
def directory() -> Generator[Path]:
    """A place whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="nc-", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def start(directory: Path) -> Start:
    """Starts a gateway with `main` open."""
    return partial(started, directory)


# --- to a provider ---------------------------------------------------------------------------------------------------


async def test_a_request_reaches_the_provider_with_the_real_key_and_without_the_clients(start: Start):
    async with serving() as server, start(server.port) as sandbox:
        answer = await sandbox.ask("POST /openai/responses?x=1", "hello", "Authorization: Bearer placeholder\r\n")
    assert answer == (200, "1")
    assert server.requests == [
        (
            "POST /v1/responses?x=1 HTTP/1.1",
            {
                "host": f"127.0.0.1:{server.port}",
                "content-length": "5",
                "authorization": f"Bearer {KEY}",
                "accept-encoding": "identity",
            },
            "hello",
        )
    ]


async def test_a_login_of_the_clients_own_passes_through(start: Start):
    async with serving() as server:
        base = f"http://127.0.0.1:{server.port}"
        route = Route(provider="codex", base_url=f"{base}/codex", headers={}, chatgpt_base_url=f"{base}/backend")
        own = "Authorization: Bearer own\r\nChatGPT-Account-ID: acc\r\n"
        async with start(route) as sandbox:
            await sandbox.ask("POST /openai/responses", headers=own)
            await sandbox.ask("GET /chatgpt/wham", headers=own)
    assert [first for first, _, _ in server.requests] == [
        "POST /codex/responses HTTP/1.1",
        "GET /backend/wham HTTP/1.1",
    ]
    for _, headers, _ in server.requests:
        assert (headers["authorization"], headers["chatgpt-account-id"]) == ("Bearer own", "acc")


async def test_an_answer_is_passed_on_piece_by_piece(start: Start):
    go_on = anyio.Event()

    async def script(line: Line) -> None:
        await server.take(line)
        await line.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await line.send("3\r\none\r\n")
        await go_on.wait()
        await line.send("3\r\ntwo\r\n0\r\nX-Trailer: dropped\r\n\r\n")

    async with serving(script) as server, start(server.port) as sandbox, await sandbox.connect() as client:
        await client.send("GET /openai/x HTTP/1.1\r\nHost: x\r\n\r\n")
        first, headers = await client.head()
        assert (first, headers["content-type"]) == ("HTTP/1.1 200 OK", "text/event-stream")
        assert await client.chunk() == "one"
        go_on.set()
        assert [await client.chunk(), await client.chunk()] == ["two", ""]


async def test_a_request_is_passed_on_piece_by_piece(start: Start):
    arrived: list[str] = []
    first_arrived = anyio.Event()

    async def script(line: Line) -> None:
        await line.head()
        arrived.append(await line.chunk())
        first_arrived.set()
        arrived.append(await line.chunk())
        assert await line.chunk() == ""
        await line.send("HTTP/1.1 204 No Content\r\n\r\n")

    async with serving(script) as server, start(server.port) as sandbox, await sandbox.connect() as client:
        await client.send("POST /openai/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await first_arrived.wait()
        await client.send("3\r\ntwo\r\n0\r\n\r\n")
        assert await client.answer() == (204, "")
    assert arrived == ["one", "two"]


async def test_sixteen_streams_run_side_by_side(start: Start):
    half_way = 0
    all_half_way = anyio.Event()

    async def script(line: Line) -> None:
        name = (await server.take(line)).split()[1].rpartition("/")[2]
        await line.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(20):
            if number == 10:
                await all_half_way.wait()
            piece = f"{name}:{number}"
            await line.send(f"{len(piece):x}\r\n{piece}\r\n")
        await line.send("0\r\n\r\n")

    async def follow(name: int) -> None:
        nonlocal half_way
        async with await sandbox.connect() as client:
            await client.send(f"GET /openai/{name} HTTP/1.1\r\nHost: x\r\n\r\n")
            _, headers = await client.head()
            text = ""
            while not text.endswith(f"{name}:9"):
                text += await client.chunk()
            half_way += 1
            if half_way == 16:
                all_half_way.set()
            assert text + await client.body(headers) == "".join(f"{name}:{number}" for number in range(20))

    async with serving(script) as server, start(server.port) as sandbox, anyio.create_task_group() as tasks:
        for name in range(16):
            tasks.start_soon(follow, name)


async def test_connections_to_a_provider_are_kept_and_cookies_are_not(start: Start):
    async with serving() as server, start(server.port) as sandbox:
        async with await sandbox.connect() as client:
            for expected in ("1", "2"):
                await client.send("GET /openai/x HTTP/1.1\r\nHost: x\r\n\r\n")
                assert await client.answer() == (200, expected)
        assert await sandbox.ask("GET /openai/x") == (200, "3")
    assert server.connections == 1
    assert all("cookie" not in headers for _, headers, _ in server.requests)


async def test_a_kept_connection_that_the_server_has_closed_is_not_used_again(start: Start):
    closed = anyio.Event()

    async def script(line: Line) -> None:
        await server.take(line)
        await line.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await line.stream.aclose()
        closed.set()

    async with serving(script) as server, start(server.port) as sandbox:
        assert await sandbox.ask("GET /openai/1") == (200, "")
        await closed.wait()
        assert await sandbox.ask("GET /openai/2") == (200, "")
    assert server.connections == 2


async def test_what_a_server_says_unasked_is_nobodys_answer(start: Start):
    async def script(line: Line) -> None:
        while True:
            await server.take(line)
            number = len(server.requests)
            answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
            await line.send(f"{answer}{number}{answer}X")

    async with serving(script) as server, start(server.port) as sandbox:
        assert await sandbox.ask("GET /openai/x") == (200, "1")
        assert await sandbox.ask("GET /openai/x") == (200, "2")


async def test_unused_connections_are_closed_after_a_while(start: Start):
    gone = anyio.Event()

    async def script(line: Line) -> None:
        await server.take(line)
        await line.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert await line.is_closed()
        gone.set()

    async with serving(script) as server, start(server.port, bounds=Bounds(keep_seconds=SHORT)) as sandbox:
        assert await sandbox.ask("GET /openai/x") == (200, "")
        await gone.wait()


async def test_the_route_of_an_open_group_is_replaced_for_its_next_request(start: Start):
    async with serving() as old, serving() as new, start(old.port) as sandbox, await sandbox.connect() as client:
        before = sandbox.socket.stat().st_ino
        await client.send("GET /openai/x HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.answer()
        await sandbox.gateway.open(MAIN, api(new.port, key="sk-of-tomorrow"))
        await client.send("GET /openai/x HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.answer()
        assert sandbox.socket.stat().st_ino == before
    assert [headers["authorization"] for _, headers, _ in old.requests] == [f"Bearer {KEY}"]
    assert [headers["authorization"] for _, headers, _ in new.requests] == ["Bearer sk-of-tomorrow"]


async def test_two_groups_have_each_their_own_way(start: Start):
    family = Folder("family")
    async with serving() as server, start(server.port) as sandbox:
        await sandbox.gateway.open(family, api(server.port, key="sk-of-the-family"))
        other = Sandbox(sandbox.gateway, sandbox.socket.parent.parent / family / "gateway.sock", [])
        await sandbox.ask("GET /openai/x")
        await other.ask("GET /openai/x")
    assert [headers["authorization"] for _, headers, _ in server.requests] == [
        f"Bearer {KEY}",
        "Bearer sk-of-the-family",
    ]


async def test_a_head_request_and_early_hints_pass(start: Start):
    async def script(line: Line) -> None:
        await server.take(line)
        await line.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")

    async with serving(script) as server, start(server.port) as sandbox, await sandbox.connect() as client:
        await client.send("HEAD /openai/x HTTP/1.1\r\nHost: x\r\n\r\n")
        first, headers = await client.head()
        assert (first, headers["content-length"]) == ("HTTP/1.1 200 OK", "7")
        await client.send("HEAD /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        first, _ = await client.head()
        assert first.startswith("HTTP/1.1 404 ")
        await client.send("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.refusal())[0] == 404


async def test_an_answer_that_ends_with_its_connection_is_whole(start: Start):
    async def script(line: Line) -> None:
        await server.take(line)
        await line.send("HTTP/1.1 200 OK\r\n\r\nall there is")

    async with serving(script) as server, start(server.port) as sandbox:
        assert await sandbox.ask("GET /openai/x") == (200, "all there is")
        assert await sandbox.ask("GET /openai/x") == (200, "all there is")


async def test_a_client_that_waits_for_permission_to_send_gets_it(start: Start):
    async with serving() as server, start(server.port) as sandbox, await sandbox.connect() as client:
        await client.send("POST /openai/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.head())[0].startswith("HTTP/1.1 100")
        await client.send("hello")
        assert await client.answer() == (200, "1")
    assert server.requests[0][2] == "hello"


async def test_an_answer_that_comes_before_the_request_is_whole_is_passed_on(start: Start):
    async def script(line: Line) -> None:
        await line.head()
        await line.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")

    async with serving(script) as server, start(server.port) as sandbox, await sandbox.connect() as client:
        await client.send("POST /openai/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        assert await client.answer() == (401, "no")
        await client.send("the rest!GET /openai/y HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await client.answer() == (401, "no")


async def test_a_server_that_slams_the_door_on_a_body_is_no_fault_of_ours(start: Start):
    async def script(line: Line) -> None:
        await line.head()
        await line.send(f"HTTP/1.1 413 Too Large\r\nContent-Length: 400000\r\n\r\n{'x' * 400_000}")

    with capture_logs() as logs:
        async with serving(script) as server, start(server.port) as sandbox, await sandbox.connect() as client:
            body = "x" * 5_000_000  # the client reads nothing before it has sent all of this
            with suppress(anyio.BrokenResourceError):  # cut, if the rest of the answer was lost
                await client.send(f"POST /openai/x HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}")
            assert (await client.head())[0] == "HTTP/1.1 413 Too Large"
    assert [entry["event"] for entry in logs] == ["gateway.request"]


async def test_tls_to_a_trusted_server_works_and_is_kept(
    start: Start, directory: Path, monkeypatch: pytest.MonkeyPatch
):
    certificate = directory / "server.pem"
    certificate.write_text(CERTIFICATE)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with serving(certificate=certificate) as server, start(api(server.port, scheme="https")) as sandbox:
        assert await sandbox.ask("POST /openai/x", "a" * 300_000) == (200, "1")
        assert await sandbox.ask("GET /openai/x") == (200, "2")
    assert server.connections == 1


async def test_tls_to_a_server_that_nobody_vouches_for_is_refused(start: Start, directory: Path):
    certificate = directory / "server.pem"
    certificate.write_text(CERTIFICATE)
    async with serving(certificate=certificate) as server, start(api(server.port, scheme="https")) as sandbox:
        status, body = await sandbox.ask("POST /openai/x", "hello")
    assert (status, server.requests) == (502, [])
    assert "certificate" in body


# --- what goes wrong -------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_server_that_is_not_there_is_said_and_the_connection_goes_on(start: Start, scheme: str):
    async with (
        serving() as server,
        start(api(free_port(), scheme=scheme)) as sandbox,
        await sandbox.connect() as client,
    ):
        await client.send("POST /openai/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
        status, message = await client.refusal()
        assert (status, "cannot be reached" in message) == (502, True)
        await sandbox.gateway.open(MAIN, api(server.port))
        await client.send("GET /openai/x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await client.answer() == (200, "1")


async def test_a_server_that_speaks_no_tls_is_said(start: Start):
    async def script(line: Line) -> None:
        await line.send("220 mail.example\r\n")

    async with serving(script) as server, start(api(server.port, scheme="https")) as sandbox:
        status, body = await sandbox.ask("GET /openai/x")
    assert (status, "does not speak TLS" in body) == (502, True)


async def test_a_server_that_never_answers_is_given_up(start: Start):
    async def script(line: Line) -> None:
        await server.take(line)
        await anyio.sleep_forever()

    bounds = Bounds(header_seconds=SHORT)
    async with (
        serving(script) as server,
        start(server.port, bounds=bounds) as sandbox,
        await sandbox.connect() as client,
    ):
        await client.send("POST /openai/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
        assert (await client.refusal())[0] == 504
        await client.send("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.refusal())[0] == 404


@pytest.mark.parametrize("answer", ["", "HTTP/1.1 200", "this is no HTTP\r\n\r\n"])
async def test_a_server_that_breaks_off_before_it_answers_is_said(start: Start, answer: str):
    async def script(line: Line) -> None:
        await server.take(line)
        await line.send(answer)

    async with serving(script) as server, start(server.port) as sandbox, await sandbox.connect() as client:
        for _ in range(2):
            await client.send("GET /openai/x HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.refusal())[0] == 502


async def test_an_answer_that_breaks_off_does_not_look_whole(start: Start):
    async def script(line: Line) -> None:
        await server.take(line)
        await line.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")

    with capture_logs() as logs:
        async with serving(script) as server, start(server.port) as sandbox, await sandbox.connect() as client:
            await client.send("GET /openai/x HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.head()
            assert await client.chunk() == "one"
            assert await client.is_closed()
    assert [(entry["status"], entry["cut"]) for entry in logs] == [(200, "server")]


async def test_a_stream_that_falls_silent_is_cut(start: Start):
    async def script(line: Line) -> None:
        await server.take(line)
        await line.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        assert await line.is_closed()
        closed.set()

    closed = anyio.Event()
    async with serving(script) as server, start(server.port, bounds=Bounds(idle_seconds=SHORT)) as sandbox:
        async with await sandbox.connect() as client:
            await client.send("GET /openai/x HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.head()
            assert await client.chunk() == "one"
            assert await client.is_closed()
        await closed.wait()


async def test_a_client_that_goes_away_ends_its_request_at_the_provider(start: Start):
    asked, closed = anyio.Event(), anyio.Event()

    async def script(line: Line) -> None:
        await server.take(line)
        asked.set()
        assert await line.is_closed()
        closed.set()

    async with serving(script) as server, start(server.port) as sandbox:
        async with await sandbox.connect() as client:
            await client.send("POST /openai/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok")
            await asked.wait()
        await closed.wait()


async def test_a_client_that_does_not_read_holds_no_more_than_a_piece_and_is_cut(start: Start):
    sent = 0
    cut = anyio.Event()

    async def script(line: Line) -> None:
        nonlocal sent
        await server.take(line)
        await line.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            while True:
                await line.send("x" * 65536)
                sent += 65536
        finally:
            cut.set()

    patient = Bounds(idle_seconds=SHORT)
    async with (
        serving(script) as server,
        start(server.port, bounds=patient) as sandbox,
        await sandbox.connect() as client,
    ):
        await client.send("GET /openai/x HTTP/1.1\r\nHost: x\r\n\r\n")
        await cut.wait()
    assert sent < 20 << 20  # what the system's own buffers hold, on both ways


async def test_a_request_that_stops_half_way_is_refused(start: Start):
    async def script(line: Line) -> None:
        await server.take(line)

    bounds = Bounds(idle_seconds=SHORT)
    async with (
        serving(script) as server,
        start(server.port, bounds=bounds) as sandbox,
        await sandbox.connect() as client,
    ):
        await client.send("POST /openai/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        assert (await client.refusal())[0] == 408


async def test_a_connection_that_asks_nothing_is_closed(start: Start):
    bounds = Bounds(idle_seconds=SHORT)
    async with serving() as server, start(server.port, bounds=bounds) as sandbox, await sandbox.connect() as client:
        await client.send("GET /openai/x HT")
        assert await client.is_closed()


@pytest.mark.parametrize(
    "rest",
    [
        "Content-Length: 2000000\r\n\r\n" + "x" * 2_000_000,
        "Transfer-Encoding: chunked\r\n\r\n" + f"1000\r\n{'x' * 4096}\r\n" * 500 + "0\r\n\r\n",
    ],
    ids=["stated", "chunked"],
)
async def test_a_body_beyond_the_limit_is_refused_and_the_connection_goes_on(start: Start, rest: str):
    async def script(line: Line) -> None:
        async for _ in line.stream:
            pass

    bounds = Bounds(body_bytes=1 << 20)
    async with (
        serving(script) as server,
        start(server.port, bounds=bounds) as sandbox,
        await sandbox.connect() as client,
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.send, "POST /openai/x HTTP/1.1\r\nHost: x\r\n" + rest)
            status, message = await client.refusal()
            assert (status, "1 MiB" in message) == (413, True)
        await client.send("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.refusal())[0] == 404


async def test_a_body_beyond_the_limit_is_refused_before_it_is_sent(start: Start):
    async with serving() as server, start(server.port) as sandbox, await sandbox.connect() as client:
        head = f"POST /openai/x HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 30}\r\nExpect: 100-continue\r\n\r\n"
        await client.send(head)
        assert (await client.refusal())[0] == 413
    assert server.connections == 0


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, "hello\r\n\r\n"),
        (400, "GET /openai/x HTTP/1.1\r\n\r\n"),  # without Host
        (400, "GET /openai/x HTTP/1.1\r\nHost: x\r\nX : space\r\n\r\n"),
        (400, "POST /openai/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST /openai/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        (400, "POST /openai/x HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello"),
        (400, "POST /openai/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 6\r\n\r\nhello"),
        (400, "POST /openai/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n"),
        (400, "GET /openai/x HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 5\r\n\r\n"),
        (400, "GET /openai/x\r HTTP/1.1\r\nHost: x\r\n\r\n"),
        (400, "GET /openai/x HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
        (400, "CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"),
        (501, "POST /openai/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        (501, "POST /openai/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
        (431, "GET /openai/x HTTP/1.1\r\nHost: x\r\nX: " + "y" * 140_000),
    ],
)
async def test_a_malformed_request_reaches_nobody_nor_does_what_hides_behind_it(start: Start, status: int, text: str):
    hidden = "GET /openai/hidden HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving() as server, start(server.port) as sandbox, await sandbox.connect() as client:
        await client.send(text + hidden)
        assert (await client.refusal())[0] == status
        assert await client.is_closed()
    assert server.requests == []
    assert [(each.verdict, each.reason, each.status) for each in sandbox.noted] == [("refused", "request", status)]


async def test_a_broken_chunk_ends_the_request(start: Start):
    async def script(line: Line) -> None:
        await server.take(line)

    async with serving(script) as server, start(server.port) as sandbox, await sandbox.connect() as client:
        await client.send("POST /openai/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        await client.send("3\r\none\r\nzzz\r\n")
        assert (await client.refusal())[0] == 400
        assert await client.is_closed()
    assert server.requests == []


async def test_a_chunk_that_breaks_after_the_answer_has_begun_cuts_it(start: Start):
    async def script(line: Line) -> None:
        await line.head()
        await line.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        await line.is_closed()

    with capture_logs() as logs:
        async with serving(script) as server, start(server.port) as sandbox, await sandbox.connect() as client:
            await client.send("POST /openai/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            await client.head()
            assert await client.exactly(4) == "half"
            await client.send("zzz\r\n")
            assert await client.is_closed()
    assert [entry["event"] for entry in logs] == ["gateway.request"]


async def test_what_follows_a_body_is_a_request_of_its_own_and_judged_as_one(start: Start):
    async with serving() as server, start(server.port) as sandbox, await sandbox.connect() as client:
        inner = "GET /anthropic/secret HTTP/1.1\r\nHost: x\r\n\r\n"
        await client.send(f"POST /openai/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok{inner}")
        assert await client.answer() == (200, "1")
        assert (await client.refusal())[0] == 404
    assert [body for _, _, body in server.requests] == ["ok"]


async def test_too_many_connections_are_turned_away_and_later_ones_are_not(start: Start):
    async with serving() as server, start(server.port, bounds=Bounds(connections=2)) as sandbox:
        async with await sandbox.connect() as first, await sandbox.connect() as second:
            for client in (first, second):
                await client.send("GET /openai/x HTTP/1.1\r\nHost: x\r\n\r\n")
                await client.answer()
            async with await sandbox.connect() as third:
                assert (await third.refusal())[0] == 503
        status = 503
        while status == 503:  # until the gateway has noticed that the two are gone
            status, _ = await sandbox.ask("GET /openai/x")
        assert status == 200


async def test_a_fault_of_ours_ends_one_connection_and_nothing_else(start: Start):
    async def resolve(host: str, port: int) -> list[str]:
        raise ValueError("Bearer sk-in-a-message")

    async with serving() as server, start(server.port, network=Network(resolve)) as sandbox:
        with capture_logs() as logs:
            async with await sandbox.connect() as client:
                await client.send("CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
                assert await client.is_closed()
        assert await sandbox.ask("GET /openai/x") == (200, "1")
    assert [entry["error"] for entry in logs if entry["event"] == "gateway.bug"] == ["ValueError"]
    assert "sk-in" not in str(logs)


async def test_the_log_says_who_asked_whom_and_nothing_that_was_said(start: Start):
    async with serving() as server, start(server.port, network=open_network(server.port)) as sandbox:
        with capture_logs() as logs:
            own = "Authorization: Bearer sk-placeholder\r\nX-Private: sk-header\r\n"
            await sandbox.ask("POST /openai/sk-path?q=sk-query", "sk-body", own)
            await sandbox.ask("GET http://example.com:8080/sk-path?q=sk-query", headers=own)
            await sandbox.ask("POST /anthropic/sk-path", headers=own)
            await sandbox.gateway.open(MAIN, api(free_port()))
            await sandbox.ask("POST /openai/sk-path", "sk-body", own)
    assert "sk-" not in str(logs)
    assert [
        {key: entry[key] for key in ("group", "to", "status", "uploaded", "downloaded", "log_level")} for entry in logs
    ] == [
        {"group": MAIN, "to": "openai", "status": 200, "uploaded": 7, "downloaded": 1, "log_level": "debug"},
        {"group": MAIN, "to": "example.com", "status": 403, "uploaded": 0, "downloaded": 0, "log_level": "debug"},
        {"group": MAIN, "to": "", "status": 404, "uploaded": 0, "downloaded": 0, "log_level": "debug"},
        {"group": MAIN, "to": "openai", "status": 502, "uploaded": 0, "downloaded": 0, "log_level": "info"},
    ]


# --- to the public network -------------------------------------------------------------------------------------------


async def test_a_tunnel_passes_bytes_both_ways_until_both_ends_have_closed(start: Start):
    async def script(line: Line) -> None:
        assert await line.exactly(5) == "early"
        await line.send("hello")
        assert await line.exactly(4) == "more"
        assert await line.is_closed()
        await line.send("last words")

    async with (
        serving(script) as server,
        start(1, network=open_network(server.port)) as sandbox,
        await sandbox.connect() as client,
    ):
        await client.send("CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\nearly")
        assert (await client.head())[0] == "HTTP/1.1 200 Connection established"
        assert await client.exactly(5) == "hello"
        await client.send("more")
        await client.end()
        assert await client.exactly(10) == "last words"
        assert await client.is_closed()


async def test_a_silent_tunnel_is_closed(start: Start):
    async def script(line: Line) -> None:
        assert await line.exactly(5) == "hello"
        assert await line.is_closed()
        closed.set()

    closed = anyio.Event()
    async with serving(script) as server:
        silent = start(1, network=open_network(server.port), bounds=Bounds(idle_seconds=SHORT))
        async with silent as sandbox, await sandbox.connect() as client:
            await client.send("CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.head()
            await client.send("hello")
            assert await client.is_closed()
            await closed.wait()


async def test_a_tunnel_whose_server_breaks_off_is_closed(start: Start):
    async def script(line: Line) -> None:
        line.stream.extra(SocketAttribute.raw_socket).setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0" + bytes(4)
        )

    async with (
        serving(script) as server,
        start(1, network=open_network(server.port)) as sandbox,
        await sandbox.connect() as client,
    ):
        await client.send("CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.head()
        assert await client.is_closed()


async def test_a_page_is_fetched_without_the_groups_key_and_its_connection_not_kept(start: Start):
    closed = anyio.Event()

    async def script(line: Line) -> None:
        await server.take(line)
        await line.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert await line.is_closed()
        closed.set()

    async with serving(script) as server, start(1, network=open_network(server.port)) as sandbox:
        assert await sandbox.ask("GET http://example.com/a?b") == (200, "ok")
        await closed.wait()
    assert server.requests == [("GET /a?b HTTP/1.1", {"host": "example.com", "content-length": "0"}, "")]


@pytest.mark.parametrize("line", ["CONNECT rebind.example:443", "GET http://rebind.example/latest/meta-data"])
@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["169.254.169.254"], ["::ffff:127.0.0.1"]]
)
async def test_a_name_that_leads_inside_is_refused_and_nothing_is_connected_to(
    start: Start, line: str, addresses: list[str]
):
    async with serving() as server:
        network = Detour(server.port, *addresses)
        async with start(1, network=network) as sandbox, await sandbox.connect() as client:
            await client.send(f"{line} HTTP/1.1\r\nHost: x\r\n\r\n")
            status, message = await client.refusal()
    assert (status, "rebind.example" in message) == (403, True)
    assert (server.connections, len(network.asked)) == (0, 1)


async def test_a_refused_tunnel_says_why_in_the_status_line_and_the_connection_goes_on(start: Start):
    async with serving() as server, start(server.port) as sandbox, await sandbox.connect() as client:
        await client.send("CONNECT example.com:22 HTTP/1.1\r\nHost: x\r\n\r\n")
        first, headers = await client.head()
        assert first.startswith("HTTP/1.1 403 NanoClaw gateway: example.com:22 is not open")
        await client.body(headers)
        await client.send("GET /openai/x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await client.answer() == (200, "1")


# --- the socket ------------------------------------------------------------------------------------------------------


async def test_only_the_agents_user_can_connect_whatever_the_umask(start: Start):
    umask = os.umask(0o077)
    try:
        async with start(1) as sandbox:
            info = sandbox.socket.stat()
            assert stat.S_IMODE(info.st_mode) == 0o600
            assert info.st_uid == (os.geteuid() or 1000)
            assert stat.S_IMODE(sandbox.socket.parent.stat().st_mode) == 0o711
    finally:
        os.umask(umask)


async def test_a_socket_left_over_from_a_crash_is_replaced(start: Start, directory: Path):
    place = directory / "run" / "gateway" / MAIN
    place.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(place / "gateway.sock"))
    async with serving() as server, start(server.port) as sandbox:
        assert await sandbox.ask("GET /openai/x") == (200, "1")


async def test_a_closed_group_has_no_socket_and_no_connections_and_can_be_opened_again(start: Start):
    async with serving() as server, start(server.port) as sandbox:
        async with await sandbox.connect() as client:
            await client.send("GET /openai/x HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.answer()
            await sandbox.gateway.close(MAIN)
            assert await client.is_closed()
        assert not sandbox.socket.exists()
        await sandbox.gateway.close(MAIN)
        await sandbox.gateway.open(MAIN, api(server.port))
        assert await sandbox.ask("GET /openai/x") == (200, "2")


async def test_when_the_gateway_ends_its_sockets_are_gone(start: Start):
    async with start(1) as sandbox:
        assert sandbox.socket.exists()
    assert not sandbox.socket.exists()


async def test_a_socket_that_cannot_be_made_is_said(start: Start):
    async with start(1) as sandbox:
        family = sandbox.socket.parent.parent / "family" / "gateway.sock"
        family.mkdir(parents=True)
        with pytest.raises(SandboxError, match=r"family/gateway\.sock cannot be made"):
            await sandbox.gateway.open(Folder("family"), api(1))


async def test_a_place_that_somebody_else_prepared_is_not_used(directory: Path):
    somebody_elses = directory / "sockets"
    if os.geteuid() == 0:
        somebody_elses.mkdir()
        os.chown(somebody_elses, 4321, 4321)
    else:
        somebody_elses.symlink_to("/")
    gateway = Gateway(lambda folder: somebody_elses / "gateway" / folder)
    async with anyio.create_task_group() as tasks:
        await tasks.start(gateway.run)
        with pytest.raises(SandboxError, match="belongs to another user"):
            await gateway.open(MAIN, api(1))
        tasks.cancel_scope.cancel()
