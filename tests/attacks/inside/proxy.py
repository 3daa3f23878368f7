"""Abusing the one way out: the relay on the sandbox's loopback, and the gateway's socket behind it."""

import array
import errno
import os
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .attempt import ALONE, Lab, attempt

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
_REFUSED = ("400", "403")
_SOCKET = "/run/nanoclaw/gateway.sock"
_CROWD = 200
_DRIPPING = 56
"""Connections that are held at once; the rest of what is allowed is its CLI's."""
_CONNECTIONS = 64
"""What a group may have open at once."""
_ANSWER_SECONDS = 60.0
_HEAD_SECONDS = 25.0
"""Somewhat less than the gateway waits for the rest of a head."""


def open_relay() -> socket.socket:
    """As the agent's CLI does."""
    return socket.create_connection(("127.0.0.1", 3128), _ANSWER_SECONDS)


def open_socket() -> socket.socket:
    """Past the relay, where there is one; waits for its turn where many do."""
    if not os.path.exists(_SOCKET):
        return open_relay()
    client = socket.socket(socket.AF_UNIX)
    client.connect(_SOCKET)
    client.settimeout(_ANSWER_SECONDS)
    return client


def ask(data: bytes, count: int = 1, opened: Callable[[], socket.socket] = open_socket) -> str:
    """Send bytes; the first `count` statuses that come back, `closed` if there are none."""
    with opened() as client:
        with suppress(BrokenPipeError, ConnectionResetError):  # it may have been answered before it was heard out
            client.sendall(data)
        found = b""
        while len(_STATUS.findall(found)) < count:
            try:
                more = client.recv(65536)
            except ConnectionResetError:
                break
            if not more:
                break
            found += more
    return " ".join(status.decode() for status in _STATUS.findall(found)) or "closed"


def request(line: str, *headers: str, body: str = "") -> bytes:
    """A request, byte for byte as given."""
    return ("\r\n".join((line, "Host: attack", *headers, "", "")) + body).encode("latin-1")


def _ask(name: str, line: str, *expected: str, headers: tuple[str, ...] = (), body: str = "", count: int = 1) -> None:
    @attempt("gateway", name, *expected)
    def _(lab: Lab) -> str:
        spelled = line.format(port=lab["host port"], own=lab["host address"], trap=lab["trap address"])
        return ask(request(spelled, *headers, body=body), count)


for _host in (
    *("127.0.0.1:443", "localhost:443", "LOCALHOST:443", "localhost.:443", "[::1]:443", "[::]:443", "0.0.0.0:443"),
    *("[::ffff:127.0.0.1]:443", "[::ffff:7f00:1]:443", "[64:ff9b::7f00:1]:443", "[2002:7f00:1::]:443"),
    *("127.1:443", "2130706433:443", "0x7f000001:443", "0177.0.0.1:443", "0x7f.1:443", "0:443", "127.0.0.1.:443"),
    *("169.254.169.254:80", "[fd00:ec2::254]:80", "168.63.129.16:80", "100.100.100.200:80", "10.0.0.1:443"),
    *("172.16.0.1:443", "192.168.1.1:443", "100.64.0.1:443", "192.0.0.1:443", "224.0.0.1:443", "[fe80::1]:443"),
    *("[fe80::1%25eth0]:443", "[fc00::1]:443", "{own}:443", "{trap}:443", "127.0.0.1:{port}", "localhost:{port}"),
):
    _ask(
        f"CONNECT {_host.format(port='PORT', own='OWN-ADDRESS', trap='TRAP-ADDRESS')}",
        f"CONNECT {_host} HTTP/1.1",
        *_REFUSED,
    )

for _host in (
    *("example.com:22", "example.com:25", "example.com:3306", "example.com:8443", "example.com:0", "example.com:65536"),
    *("example.com:-443", "example.com:+443", "example.com:4 43", "example.com:", "example.com", ":443", "[]:443"),
    *("user@127.0.0.1:443", "example.com@127.0.0.1:443", "example.com:443@127.0.0.1:443", "127.0.0.1#@a.com:443"),
    *("127.0.0.1%2eexample.com:443", "example.com%00.a.com:443", "example.com\\@127.0.0.1:443", "127.0.0.1/:443"),
    *("http://127.0.0.1:443", "../../etc/passwd:443", "*:443", "$(id):443", "-oProxyCommand=id:443"),
    "\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1:443",
    "\xe2\x91\xa0.1.1.1:443",
    "xn--0.com\xad:443",
):
    _ask(f"CONNECT {ascii(_host)[1:-1]}", f"CONNECT {_host} HTTP/1.1", *_REFUSED)

for _name, _title in {
    "loop.test": "the host's loopback",
    "lan.test": "the local network",
    "metadata.test": "the cloud's metadata",
    "mixed.test": "a public address and the host's loopback",
    "mapped.test": "the host's loopback as IPv4 in IPv6",
    "own.test": "the host's own address",
}.items():
    _ask(f"CONNECT {_name}, a name for {_title}", f"CONNECT {_name}:443 HTTP/1.1", "403")


@attempt("gateway", "a name that is public first and the host's loopback after that", "403", "502")
def _(_: Lab) -> str:
    answers = [ask(request("CONNECT rebind.test:443 HTTP/1.1")) for _ in range(2)]
    bad = [answer for answer in answers if answer not in ("403", "502")]
    return bad[0] if bad else answers[-1]


for _url in (
    *("http://127.0.0.1:{port}/", "http://127.0.0.1/", "http://localhost/", "HTTP://LOCALHOST/", "http://[::1]/"),
    *("http://169.254.169.254/latest/meta-data/", "http://0x7f000001/", "http://2130706433/", "http://0/"),
    *("http://user:pass@127.0.0.1/", "http://example.com@127.0.0.1/", "http://127.0.0.1\\@example.com/"),
    *(
        "http://10.0.0.1/",
        "http://{own}/",
        "http://{trap}:443/",
        "http://loop.test/",
        "http:///",
        "http://?a",
        "http://127.0.0.1?x=/",
    ),
    *("https://127.0.0.1/", "https://example.com/", "ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/"),
    *("unix:///run/control.sock", "ws://127.0.0.1/", "//127.0.0.1/", "http:/127.0.0.1/", "http:\\\\127.0.0.1/"),
    *("127.0.0.1/", "http://example.com:22/", "http://127.0.0.1:3128/http://127.0.0.1/", "*"),
):
    _ask(
        f"GET {_url.format(port='PORT', own='OWN-ADDRESS', trap='TRAP-ADDRESS')}",
        f"GET {_url} HTTP/1.1",
        "400",
        "403",
        "404",
    )

for _path in (
    *("/openai/../smuggled", "/openai/%2e%2e/smuggled", "/openai/.%2E/smuggled", "/openai/..%2fsmuggled"),
    *("/openai/..%5csmuggled", "/openai/x/../../smuggled", "/openai/./../smuggled", "/openai/..\\smuggled"),
    *("/anthropic/v1/messages", "/chatgpt/smuggled", "/etc/passwd", "/", "/v1/models", "/OPENAI/models"),
    *("/openai#/smuggled", "/%6fpenai/models", "/other/models"),
):
    _ask(f"GET {_path}, by the provider's path", f"GET {_path} HTTP/1.1", "400", "404")

_ask("TRACE, which would show the key", "TRACE /openai/models HTTP/1.1", "405", "400")
_ask("an unknown method", "ATTACK /openai/models HTTP/1.1", "405", "400")
_ask("a web socket", "GET /openai/models HTTP/1.1", "426", headers=("Upgrade: websocket", "Connection: Upgrade"))
for _headers in (
    ("Content-Length: 5", "Transfer-Encoding: chunked"),
    ("Transfer-Encoding: chunked", "Content-Length: 5"),
    ("Content-Length: 5", "Content-Length: 0"),
    ("X-A: b\rTransfer-Encoding: chunked", "Content-Length: 5"),
):
    _ask(
        f"a request behind one whose end is a matter of opinion: {', '.join(_headers)}".replace("\r", " CR "),
        "POST /openai/responses HTTP/1.1",
        "400",  # and nothing after it
        headers=_headers,
        body="0\r\n\r\nGET /openai/models?attempt=smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        count=2,
    )
for _title, _headers in {
    "two lengths that differ": ("Content-Length: 5", "Content-Length: 6"),
    "a length with a sign": ("Content-Length: +5",),
    "a length below zero": ("Content-Length: -1",),
    "a length in hexadecimal": ("Content-Length: 0x5",),
    "two encodings": ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    "an encoding nobody knows": ("Transfer-Encoding: xchunked",),
    "an encoding behind a vertical tab": ("Transfer-Encoding: \x0bchunked",),
    "a space before the colon": ("Transfer-Encoding : chunked",),
    "a folded header": ("X-A: b", " Transfer-Encoding: chunked", "Content-Length: 0", "Transfer-Encoding: chunked"),
    "two hosts": ("Host: other",),
    "a header with a zero byte": ("X-A: b\0c",),
    "a header without a name": (": x",),
}.items():
    _ask(_title, "POST /openai/responses HTTP/1.1", "400", "501", headers=_headers)
_ask("a body for CONNECT", "CONNECT example.com:443 HTTP/1.1", "400", headers=("Content-Length: 5",), body="hello")
_ask(
    "a chunk longer than any",
    "POST /openai/responses HTTP/1.1",
    "400",
    headers=("Transfer-Encoding: chunked",),
    body="FFFFFFFFFFFFFFFFFFFFFFFF\r\nx",
)
_ask("a body of a terabyte", "POST /openai/responses HTTP/1.1", "413", headers=("Content-Length: 1099511627776",))
_ask(
    "a request for the host behind a good one",
    "GET /openai/models HTTP/1.1",
    "200 403",
    headers=("", "GET http://127.0.0.1:1/ HTTP/1.1", "Host: attack"),
    count=2,
)
_ask(
    "a tunnel behind a good request",
    "GET /openai/models HTTP/1.1",
    "200 403",
    headers=("", "CONNECT 127.0.0.1:443 HTTP/1.1", "Host: attack"),
    count=2,
)


@attempt("gateway", "a head that never ends", "431", "400", "closed")
def _(_: Lab) -> str:
    return ask(b"GET /openai/models HTTP/1.1\r\nX: " + b"a" * (1 << 20))


@attempt("gateway", "ten thousand headers", "431", "400", "closed")
def _(_: Lab) -> str:
    return ask(request("GET /openai/models HTTP/1.1", *(f"X-{number}: {'a' * 20}" for number in range(10_000))))


@attempt("gateway", "bare line feeds between headers", "400", "200")
def _(_: Lab) -> str:
    return ask(b"GET /openai/models HTTP/1.1\nHost: attack\n\n")


@attempt("gateway", "another protocol: TLS", "400", "closed")
def _(_: Lab) -> str:
    return ask(bytes.fromhex("1603010005010000010303") + os.urandom(32) + b"\r\n\r\n")


@attempt("gateway", "another protocol: HTTP/2", "400", "505", "closed")
def _(_: Lab) -> str:
    return ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


@attempt("gateway", "another protocol: SOCKS 5", "400", "closed")
def _(_: Lab) -> str:
    return ask(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x01\xbb\r\n\r\n")


@attempt("gateway", "a carriage return in the address", "400")
def _(_: Lab) -> str:
    return ask(b"GET http://127.0.0.1/\r HTTP/1.1\r\nHost: a\r\n\r\n")


@attempt("gateway", "its own credential in place of the host's", "200")
def _(_: Lab) -> str:
    # the host's side of this attempt looks at what the model's server was sent
    stolen = ("Authorization: Bearer attack", "x-api-key: attack", "ChatGPT-Account-Id: attack")
    return ask(request("GET /openai/models?attempt=credential HTTP/1.1", *stolen))


@attempt("gateway", "have the host's credential dropped as a header of this hop", "200")
def _(_: Lab) -> str:
    hop = "Connection: close, authorization, x-api-key, host"
    return ask(request("GET /openai/models?attempt=hop HTTP/1.1", hop))


@attempt("gateway", "follow a redirect of a reachable server to the host's loopback", "403")
def _(lab: Lab) -> str:
    with open_socket() as client:
        client.sendall(request("GET /openai/redirect HTTP/1.1"))
        head = client.recv(65536).decode("latin-1")
    if " 302 " not in head.split("\r\n")[0]:
        return f"broken: {head[:60]}"
    place = next(line.split(": ", 1)[1] for line in head.split("\r\n") if line.lower().startswith("location:"))
    if str(lab["host port"]) not in place:
        return f"broken: {place}"
    return ask(request(f"GET {place} HTTP/1.1"))


@attempt("gateway", "hand descriptors over the socket", "200", "400")
def _(_: Lab) -> str:
    with open_socket() as client:
        passed = array.array("i", [1] * 200)
        client.sendmsg([b"GET /openai/models HTTP/1.1\r\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
        client.sendall(b"Host: a\r\n\r\n")
        return client.recv(100).split()[1].decode()


@attempt("gateway", "the same door through the relay", "403")
def _(_: Lab) -> str:
    return ask(request("CONNECT 127.0.0.1:443 HTTP/1.1"), opened=open_relay)


@attempt("gateway", "more connections than allowed, each with half a head", "the rest is turned away", phase=ALONE)
def _(_lab: Lab) -> str:
    held = [_begun() for _ in range(_CROWD)]
    waiting, deadline = set(held), time.monotonic() + _HEAD_SECONDS
    while len(waiting) > _CONNECTIONS and time.monotonic() < deadline:
        waiting -= {client for client in waiting if _is_turned_away(client)}
        time.sleep(0.02)
    return "the rest is turned away" if 0 < len(waiting) <= _CONNECTIONS else f"{len(waiting)} are held"


def _is_turned_away(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(64, socket.MSG_PEEK)[9:12] == b"503"
    except OSError as error:
        return error.errno == errno.ECONNRESET


def drip(_: Lab) -> str:
    """Hold connections with heads that come a byte at a time, until the host's side has seen enough."""
    held = [_begun() for _ in range(_DRIPPING)]
    Path("/workspace/group/dripping").touch()
    deadline = time.monotonic() + 3 * _ANSWER_SECONDS
    while not os.path.exists("/workspace/group/enough") and time.monotonic() < deadline:
        for place, client in enumerate(held):
            try:
                client.sendall(b"a")
            except OSError:  # the gateway lost its patience
                held[place] = _begun()
        time.sleep(0.5)
    return f"{len(held)} dripped"


def _begun() -> socket.socket:
    client = open_socket()
    with suppress(BrokenPipeError, ConnectionResetError):  # it may have been turned away already
        client.sendall(b"GET /openai/models HTTP/1.1\r\nX: ")
    return client


@attempt("gateway", "the door is open again after that", "200", phase=ALONE)
def _(_: Lab) -> str:
    deadline = time.monotonic() + _ANSWER_SECONDS
    while (answer := ask(request("GET /openai/models HTTP/1.1"))) != "200" and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer
