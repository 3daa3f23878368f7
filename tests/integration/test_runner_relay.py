"""The relay between the sandbox's loopback and the gateway's socket."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

_PATIENCE = 10.0
_MOST = 400  # connections at once
_PROGRAM = """
import sys
from nanoclaw_runner.relay import Relay
relay = Relay(sys.argv[1], port=0)
print(relay.port, flush=True)
relay.serve()
"""


@contextmanager
def gateway(path: Path, serve: Callable[[socket.socket], None]) -> Generator[None]:
    """A gateway that gives each connection to `serve`, in a thread of its own."""
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as served:
        listener.bind(str(path))
        listener.listen(512)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                served.enter_context(connection)
                thread = threading.Thread(target=serve, args=(connection,))
                thread.start()
                served.callback(thread.join)

        accepting = threading.Thread(target=accept)
        accepting.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def echo(connection: socket.socket) -> None:
    while data := connection.recv(1 << 16):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def answer_after_all(connection: socket.socket) -> None:
    length = len(read_all(connection))
    connection.sendall(f"{length} bytes".encode())
    connection.shutdown(socket.SHUT_WR)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "gateway.sock"


@pytest.fixture
def relay(place: Path) -> Iterator[int]:
    """The port of a relay in a process of its own, as it serves until its process ends."""
    with subprocess.Popen([sys.executable, "-c", _PROGRAM, str(place)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


def connect(relay: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay), timeout=_PATIENCE)


def test_what_is_said_arrives_before_the_sender_has_finished(place: Path, relay: int) -> None:
    with gateway(place, echo), connect(relay) as client:
        for word in (b"one", b"two"):
            client.sendall(word)
            assert client.recv(100) == word


def test_a_client_that_has_finished_still_gets_its_answer(place: Path, relay: int) -> None:
    with gateway(place, answer_after_all), connect(relay) as client:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"8 bytes"


def test_megabytes_pass_both_ways_at_once(place: Path, relay: int) -> None:
    data = bytes(range(256)) * (8 << 12)
    with gateway(place, echo), connect(relay) as client:
        sender = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
        sender.start()
        assert read_all(client) == data
        sender.join()


def test_many_connections_are_carried_side_by_side(place: Path, relay: int) -> None:
    with gateway(place, echo), ExitStack() as stack:
        clients = [stack.enter_context(connect(relay)) for _ in range(200)]
        for number, client in enumerate(clients):
            client.sendall(str(number).encode())
        for number, client in reversed(list(enumerate(clients))):
            assert client.recv(100) == str(number).encode()


def test_connections_beyond_the_limit_wait_until_others_have_ended(place: Path, relay: int) -> None:
    with gateway(place, echo), connect(relay) as first, ExitStack() as stack:
        for _ in range(_MOST - 1):
            stack.enter_context(connect(relay))
        with connect(relay) as late:
            late.sendall(b"late")
            first.sendall(b"first")
            assert first.recv(100) == b"first"
            late.setblocking(False)
            with pytest.raises(BlockingIOError):
                late.recv(100)
            late.settimeout(_PATIENCE)
            stack.close()
            assert late.recv(100) == b"late"


def test_a_client_that_breaks_off_is_forgotten(place: Path, relay: int) -> None:
    gone = threading.Event()

    def wait_for_the_end(connection: socket.socket) -> None:
        read_all(connection)
        gone.set()

    with gateway(place, wait_for_the_end):
        with connect(relay) as client:
            client.sendall(b"hello")
        assert gone.wait(_PATIENCE)


def test_without_a_gateway_a_connection_ends_and_the_next_one_can_succeed(place: Path, relay: int) -> None:
    with connect(relay) as client:
        assert client.recv(100) == b""
    with gateway(place, echo), connect(relay) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
