"""The HTTP side that both scripted models share: threads, recording, and playing an answer onto a connection."""

import json
import socket
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from types import TracebackType
from typing import Any, Final, Self, cast
from urllib.parse import parse_qs
from weakref import WeakSet

from nanoclaw.testing.models.answers import Answer, Silence, Stream, Whole, refusal
from nanoclaw.testing.models.script import Conversation, Script, Step, fault, next_step

try:
    import zstandard
except ModuleNotFoundError:  # only Codex compresses, and only towards its built-in provider
    zstandard = None

LOOPBACK: Final = "127.0.0.1"
_CREDENTIAL_HEADERS: Final = {"authorization", "x-api-key"}
_SHUTDOWN_POLL_SECONDS: Final = 0.02  # how long leaving the context may take to be noticed


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedRequest:
    """A request as it came in."""

    method: str
    path: str
    """Without the query."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: dict[str, Any] | None
    """The decoded JSON object or form, if it was one."""
    at: datetime


class ScriptedServer(ABC):
    """A model server on loopback that answers as its script says and records what it was asked.

    A model request without any credential is refused with 401, whatever the script.

    A context manager: leaving it hangs up on everybody, releases every handler that was told to hang, and leaves no
    thread and no socket behind. What a script raised comes out of the context, or is noted on what comes out anyway.
    """

    def __init__(self, script: Script, *, port: int = 0) -> None:
        """Prepare a server.

        Args:
            script: what to answer; may be replaced at any time by assigning to `script`.
            port: on 127.0.0.1; 0 takes a free one.
        """
        self.script = script
        self._wanted_port = port
        self._changed = threading.Condition()
        self._requests: list[RecordedRequest] = []
        self._conversations: list[Conversation] = []

    def __enter__(self) -> Self:
        self._http = _Http(self, self._wanted_port)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(_SHUTDOWN_POLL_SECONDS,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.closing.set()
        self._http.shutdown()
        self._http.hang_up()
        self._http.server_close()
        self._thread.join()
        for failure in self._http.failures:
            if error is None:
                raise failure
            error.add_note(f"the scripted model had failed before: {failure!r}")

    @property
    def origin(self) -> str:
        """`http://127.0.0.1:<port>`"""
        return f"http://{LOOPBACK}:{self._http.server_address[1]}"

    @property
    @abstractmethod
    def base_url(self) -> str:
        """What goes into the provider's base URL variable."""

    @property
    def requests(self) -> list[RecordedRequest]:
        """Everything asked so far, oldest first."""
        with self._changed:
            return list(self._requests)

    @property
    def conversations(self) -> list[Conversation]:
        """The model requests among `requests`, as the script saw them."""
        with self._changed:
            return list(self._conversations)

    def wait_for(self, count: int, timeout: float = 30.0) -> list[Conversation]:
        """Block until there are `count` model requests.

        Raises:
            TimeoutError: there were fewer after `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._conversations) >= count, timeout):
                raise TimeoutError(f"{len(self._conversations)} model requests in {timeout} s, not {count}")
            return list(self._conversations)

    def answer(self, request: RecordedRequest) -> Answer:
        """Record a request and decide what it gets."""
        with self._changed:
            self._requests.append(request)
        return self._route(request)

    @abstractmethod
    def _route(self, request: RecordedRequest) -> Answer: ...

    def _next_step(self, conversation: Conversation) -> Step:
        with self._changed:
            self._conversations.append(conversation)
            self._changed.notify_all()
        return next_step(self.script, conversation) if self._is_signed_in(conversation.headers) else fault("auth")

    def _is_signed_in(self, headers: Mapping[str, str]) -> bool:
        return not headers.keys().isdisjoint(_CREDENTIAL_HEADERS)


class _Http(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, owner: ScriptedServer, port: int) -> None:
        self.owner = owner
        self.closing = threading.Event()
        self.failures: list[BaseException] = []
        self._connections: WeakSet[socket.socket] = WeakSet()
        super().__init__((LOOPBACK, port), _Handler)

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError):  # clients may leave whenever they like
            self.failures.append(error)

    def hang_up(self) -> None:
        """Wake every handler that waits for its client to say something more. Nobody is accepted any longer."""
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http  # pyright: ignore[reportIncompatibleVariableOverride] - socketserver types it as its base class

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: `requests` is the log."""

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        raw = b"".join(self._body(headers))
        if headers.get("content-encoding") == "zstd":
            if zstandard is None:
                self._play(refusal(415, "zstd is not understood here."))
                return
            raw = zstandard.ZstdDecompressor().decompressobj().decompress(raw)
        request = RecordedRequest(
            method=self.command,
            path=self.path.partition("?")[0],
            headers=headers,
            body=_decoded(raw, headers.get("content-type", "")),
            at=datetime.now(UTC),
        )
        self._play(self.server.owner.answer(request))

    def _body(self, headers: Mapping[str, str]) -> Iterator[bytes]:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            yield self._read(int(headers.get("content-length") or 0))
            return
        while size := int(self.rfile.readline() or b"0", 16):  # nothing at all: the client left
            yield self._read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError("the client left in the middle of its request")
        return data

    def _play(self, answer: Answer) -> None:
        match answer:
            case Silence():
                self._hang()
            case Whole(status, payload, headers):
                body = json.dumps(payload).encode()
                self._head(status, {"content-type": "application/json", "content-length": str(len(body)), **headers})
                if self.command != "HEAD":
                    self.wfile.write(body)
            case Stream():
                self._play_stream(answer)

    def _play_stream(self, answer: Stream) -> None:
        self._head(200, {"content-type": answer.content_type, "transfer-encoding": "chunked"})
        for piece in answer.pieces:
            if answer.pause:
                self.server.closing.wait(answer.pause)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        match answer.ending:
            case "complete":
                self.wfile.write(b"0\r\n\r\n")
            case "silent":
                self._hang()
            case "dropped":
                self.close_connection = True

    def _hang(self) -> None:
        self.server.closing.wait()
        self.close_connection = True

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def _decoded(raw: bytes, content_type: str) -> dict[str, Any] | None:
    if content_type.startswith("application/x-www-form-urlencoded"):
        return {name: values[-1] for name, values in parse_qs(raw.decode()).items()}
    try:
        value: Any = json.loads(raw)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
