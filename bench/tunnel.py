"""What the way out of a sandbox adds to a download: relay, socket and gateway, against the same program without them.

Server and relay are processes of their own, the client is curl, and the gateway has this one for itself.
"""

import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from nanoclaw.gateway import Gateway, Network, Policy, Quota, Route
from nanoclaw.hosts import Rules, parse_pattern
from nanoclaw.logs import set_up_logging
from nanoclaw.model import Folder

_HOST = "bench.test"
_MAIN = Folder("main")
_SERVER = """\
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        size = int(self.path.strip("/"))
        self.send_response(200)
        self.send_header("content-length", str(size))
        self.end_headers()
        while size > 0:
            size -= self.wfile.write(b"x" * min(size, 1 << 18))
    def log_message(self, *_):
        pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
_RELAY = """\
import sys
from nanoclaw_runner.relay import Relay
relay = Relay(sys.argv[1], port=0)
print(relay.port, flush=True)
relay.serve()
"""


@dataclass(kw_only=True)
class Fetches:
    """Seconds, by curl's own clock, one of each per fetch."""

    direct: list[float] = field(default_factory=list[float])
    tunnel: list[float] = field(default_factory=list[float])
    """By CONNECT, as everything with https goes."""


async def fetches(count: int, size: int) -> Fetches:
    """Fetch so many bytes so often, directly and by the way out, one after the other; the first of each is not
    counted."""
    set_up_logging(None, "error", to_stderr=False)
    found = Fetches()
    with tempfile.TemporaryDirectory(prefix="nanoclaw-", dir="/tmp") as directory, _listening(_SERVER) as port:
        async with _gateway(Path(directory), port) as gateway:
            with _listening(_RELAY, str(gateway)) as relay:
                direct = [f"http://127.0.0.1:{port}/{size}"]
                tunnel = ["--proxytunnel", "--proxy", f"http://127.0.0.1:{relay}", f"http://{_HOST}:{port}/{size}"]
                for number in range(count + 1):
                    seconds = [await anyio.to_thread.run_sync(partial(_curl, way)) for way in (direct, tunnel)]
                    if number:
                        found.direct.append(seconds[0])
                        found.tunnel.append(seconds[1])
    return found


@asynccontextmanager
async def _gateway(directory: Path, port: int) -> AsyncGenerator[Path]:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    quota = Quota(requests_per_minute=1 << 20, upload_bytes=1 << 50, download_bytes=1 << 50)
    network = Network(resolve, lambda _: True)
    gateway = Gateway(lambda folder: directory / "run" / "gateway" / folder, quota=quota, network=network)
    allowed = Rules.allowing([parse_pattern(f"{_HOST}:{port}")])
    gateway.follow({_MAIN: Policy(folder=_MAIN, mode="allowlist", allowed=allowed)})
    async with anyio.create_task_group() as tasks:
        await tasks.start(gateway.run)
        route = Route(provider="codex", base_url="http://127.0.0.1:1", headers={}, chatgpt_base_url=None)
        await gateway.open(_MAIN, route)
        yield directory / "run" / "gateway" / _MAIN / "gateway.sock"
        tasks.cancel_scope.cancel()


@contextmanager
def _listening(program: str, *arguments: str) -> Generator[int]:
    """A program that prints the port at which it listens."""
    with subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def _curl(arguments: list[str]) -> float:
    command = ["curl", "-sSf", "-o", "/dev/null", "-w", "%{time_total}", "--noproxy", "", *arguments]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
