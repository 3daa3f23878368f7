"""What sandboxes send to the gateway: decided at once, and at a real door."""

import os
import re
import socket
import threading
from contextlib import suppress
from typing import Final

import anyio
import h11
from anyio.abc import ByteStream, SocketAttribute
from structlog.testing import capture_logs

from nanoclaw.config import NetworkSettings
from nanoclaw.gateway import Bounds, Gateway, Network, Route
from nanoclaw.gateway.decision import Forward, Refuse, Tunnel, decide
from nanoclaw.gateway.policy import Policy, policy_of
from nanoclaw.hosts import canonical_host
from nanoclaw.model import Folder, Jid, NetworkConfig, RegisteredGroup
from tests.fuzz.target import scratch_directory, target

_GROUP: Final = RegisteredGroup(
    jid=Jid("local:a"),
    name="a",
    folder=Folder("a"),
    trigger="@a",
    added_at="",
    network=NetworkConfig(policy="allowlist", allow=("*.example.org", "127.0.0.1:443")),
)
_POLICY: Final = policy_of(NetworkSettings(), _GROUP)
_OPEN: Final = Policy(folder=Folder("a"), mode="open")
_ROUTE: Final = Route(
    provider="codex",
    base_url="https://api.openai.com/v1",
    headers={"authorization": "Bearer sk-real"},
    chatgpt_base_url="https://chatgpt.com/backend-api",
)
_SEEDS: Final = (
    b"POST /openai/responses HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nAuthorization: Bearer x\r\n\r\n{}",
    b"GET /openai/models?a=b HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-a\r\nX-A: b\r\n\r\n",
    b"CONNECT www.example.org:443 HTTP/1.1\r\nHost: www.example.org:443\r\n\r\n",
    b"GET http://www.example.org/a?b=c HTTP/1.1\r\nHost: www.example.org\r\nExpect: 100-continue\r\n\r\n",
    b"POST /chatgpt/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"GET http://127.0.0.1:3128/openai/models HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
    b"CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n",
)
_WORDS: Final = (
    *(b"..", b"%2e", b"%2F", b"//", b"\\", b"@", b":443", b"#", b"?", b"[::1]", b"127.0.0.1", b"0x7f.1", b"localhost"),
    *(b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Host: b\r\n", b" \t", b"\r\n ", b"HTTP/1.0"),
)


@target("requests", *_SEEDS, words=_WORDS)
def requests(data: bytes) -> None:
    """Whatever is decided is well formed, carries the host's key to the provider alone, and keeps to the policy."""
    parser = h11.Connection(h11.SERVER)
    try:
        parser.receive_data(data)
        head = parser.next_event()
    except h11.RemoteProtocolError:
        return
    if isinstance(head, h11.Request):
        for policy in (_POLICY, _OPEN):
            _judge(decide(head, _ROUTE, policy), policy)


def _judge(decision: Forward | Tunnel | Refuse, policy: Policy) -> None:
    match decision:
        case Refuse(status=status, sentence=sentence):
            assert 400 <= status < 500
            assert sentence.isprintable()
        case Tunnel(host=host, port=port):
            assert policy.reach(host, port)
            assert canonical_host(host) == host
        case Forward():
            _judge_forward(decision, policy)


def _judge_forward(forward: Forward, policy: Policy) -> None:
    headers = dict(forward.head.headers)
    sent = h11.Connection(h11.CLIENT).send(forward.head)
    assert sent
    assert sent.count(b"\r\n\r\n") == 1, "a request within a request"
    assert not (b"content-length" in headers and b"transfer-encoding" in headers)
    if forward.reach == "provider":
        assert (forward.host, forward.port, forward.tls) in (("api.openai.com", 443, True), ("chatgpt.com", 443, True))
        assert headers[b"authorization"] == b"Bearer sk-real"
        base = b"/v1" if forward.host == "api.openai.com" else b"/backend-api"
        assert forward.head.target.startswith(base)
        assert b"/../" not in forward.head.target
    else:
        assert policy.reach(forward.host, forward.port)
        assert b"sk-real" not in sent


class _Door:
    """A gateway that runs in a thread of its own; its provider answers, and every other way out is closed."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        """What the provider was asked."""
        self.path = scratch_directory() / "gateway" / "a" / "gateway.sock"
        ready = threading.Event()
        threading.Thread(target=anyio.run, args=(self._run, ready), daemon=True).start()
        ready.wait(30)

    async def _run(self, ready: threading.Event) -> None:
        bounds = Bounds(connections=8, drain_seconds=0.05, idle_seconds=1.0, connect_seconds=0.5)
        gateway = Gateway(lambda _: self.path.parent, bounds=bounds, network=Network(resolve=_nowhere))
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        base = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/v1"
        route = Route(provider="codex", base_url=base, headers=_ROUTE.headers, chatgpt_base_url=None)
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, self._answer)
            await tasks.start(gateway.run)
            await gateway.open(Folder("a"), route)
            ready.set()
            await anyio.sleep_forever()

    async def _answer(self, stream: ByteStream) -> None:
        async with stream:
            said = b""
            while b"\r\n\r\n" not in said:
                try:
                    said += await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
            self.heads.append(said.partition(b"\r\n\r\n")[0])
            with suppress(anyio.BrokenResourceError):
                await stream.send(_ANSWERS[len(self.heads) % len(_ANSWERS)])


_ANSWERS: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 No\r\n\r\nno",
    b"no HTTP",
)


async def _nowhere(host: str, port: int) -> list[str]:
    raise OSError("no such name")


_door: list[_Door] = []


@target("door", *_SEEDS, b"".join(_SEEDS[:3]), words=_WORDS)
def door(data: bytes) -> None:
    """Whatever comes over the socket is answered in HTTP, or the connection ends."""
    if not _door:
        _door.append(_Door())
    with capture_logs() as log, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(os.fspath(_door[0].path))
        with suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        answer = _heard(client)
    while _door[0].heads:
        _judge_head(_door[0].heads.pop())
    assert not answer or answer.startswith(b"HTTP/1.1 "), answer[:100]
    assert b"sk-real" not in answer
    assert not [entry for entry in log if entry["event"] == "gateway.bug"], log


def _judge_head(head: bytes) -> None:
    first, *lines = head.split(b"\r\n")
    names = [line.partition(b":")[0].lower() for line in lines]
    assert re.fullmatch(rb"[A-Z]+ /v1([/?][\x21-\x7e]*)? HTTP/1\.1", first), first
    assert names.count(b"authorization") == names.count(b"host") == 1, names
    assert b"authorization: Bearer sk-real" in lines
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1, names


def _heard(client: socket.socket) -> bytes:
    answer = b""
    try:
        while piece := client.recv(65536):
            answer += piece
    except ConnectionResetError:
        pass
    return answer
