"""An internet on loopback: a few well-known places under their real names, over TLS, with an authority of its own."""

import base64
import hashlib
import io
import json
import ssl
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
from anyio.abc import SocketStream
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nanoclaw.gateway import Network

PLACES = (
    "github.com",
    "pypi.org",
    "files.pythonhosted.org",
    "registry.npmjs.org",
    "en.wikipedia.org",
    "example.com",
    "evil.example",
)
_WHEEL = "hello_nanoclaw-1.0-py3-none-any.whl"
_PACKAGE = "hello-nanoclaw"
_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


class Internet(Network):
    """Every name leads to the server below, whichever its port."""

    def __init__(self, tls_port: int, plain_port: int, authority: bytes, reached: list[str]) -> None:
        async def resolve(host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        super().__init__(resolve, lambda address: True)
        self._ports = {443: tls_port}
        self._plain_port = plain_port
        self.authority = authority
        """The certificate that a client must trust, as PEM."""
        self.reached = reached
        """Host and path of every request that came in."""

    async def connect(self, host: str, port: int, lookups: anyio.CapacityLimiter, *, private: bool) -> SocketStream:
        return await super().connect(host, self._ports.get(port, self._plain_port), lookups, private=private)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client may leave whenever it likes."""


@contextmanager
def internet(directory: Path) -> Generator[Internet]:
    """The servers, for as long as the context lasts; their files lie in `directory`."""
    pages, reached = _pages(directory), list[str]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            place = self.headers.get("host", "").partition(":")[0] + self.path.partition("?")[0]
            reached.append(place)
            found = pages(place)
            body = b"there is nothing here" if found is None else found[1]
            self.send_response(404 if found is None else 200)
            self.send_header("content-type", "text/plain" if found is None else found[0])
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """`reached` is the log."""

    authority, context = _certificates(directory)
    servers = [_Server(("127.0.0.1", 0), Handler) for _ in range(2)]
    servers[0].socket = context.wrap_socket(servers[0].socket, server_side=True, do_handshake_on_connect=False)
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield Internet(servers[0].server_address[1], servers[1].server_address[1], authority, reached)
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


Pages = Callable[[str], tuple[str, bytes] | None]


def _pages(directory: Path) -> Pages:
    """What lies where: host and path to content type and body."""
    repository = _repository(directory)
    wheel, package = _wheel(), _npm_package()
    digest = base64.b64encode(hashlib.sha512(package).digest()).decode()
    tarball = f"https://registry.npmjs.org/{_PACKAGE}/-/{_PACKAGE}-1.0.0.tgz"
    version = {
        "name": _PACKAGE,
        "version": "1.0.0",
        "dist": {"tarball": tarball, "integrity": f"sha512-{digest}"},
    }
    document = {"name": _PACKAGE, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
    link = f'<a href="https://files.pythonhosted.org/packages/{_WHEEL}">{_WHEEL}</a>'
    fixed = {
        f"pypi.org/simple/{_PACKAGE}/": ("text/html", link.encode()),
        f"files.pythonhosted.org/packages/{_WHEEL}": ("application/octet-stream", wheel),
        f"registry.npmjs.org/{_PACKAGE}": ("application/json", json.dumps(document).encode()),
        tarball.removeprefix("https://"): ("application/octet-stream", package),
        "en.wikipedia.org/wiki/Hello": ("text/html", b"<title>Hello</title><p>A greeting of old.</p>"),
        "example.com/": ("text/html", b"<p>An example.</p>"),
    }

    def find(place: str) -> tuple[str, bytes] | None:
        if place in fixed:
            return fixed[place]
        path = repository / place.removeprefix("github.com/acme/hello.git/")
        return (
            ("application/octet-stream", path.read_bytes())
            if place.startswith("github.com/") and path.is_file()
            else None
        )

    return find


def _repository(directory: Path) -> Path:
    """A bare repository, ready for git's plainest way of being served."""
    work, bare = directory / "work", directory / "hello.git"
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "commit.gpgsign=false")
    _git("init", "--quiet", "--initial-branch=main", str(work))
    (work / "README").write_text("hello from the repository\n", encoding="utf-8")
    _git("-C", str(work), "add", "README")
    _git("-C", str(work), *identity, "commit", "--quiet", "-m", "first")
    _git("clone", "--quiet", "--bare", str(work), str(bare))
    _git("-C", str(bare), "update-server-info")
    return bare


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True, stdin=subprocess.DEVNULL, capture_output=True)


def _wheel() -> bytes:
    metadata = f"Metadata-Version: 2.1\nName: {_PACKAGE}\nVersion: 1.0\n"
    kind = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    folder = "hello_nanoclaw-1.0.dist-info"
    names = ("hello_nanoclaw.py", f"{folder}/METADATA", f"{folder}/WHEEL", f"{folder}/RECORD")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        contents = ("TEXT = 'hello from the wheel'\n", metadata, kind, "".join(f"{name},,\n" for name in names))
        for name, text in zip(names, contents, strict=True):
            archive.writestr(name, text)
    return buffer.getvalue()


def _npm_package() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in (
            ("package.json", json.dumps({"name": _PACKAGE, "version": "1.0.0", "main": "index.js"})),
            ("index.js", "module.exports = 'hello from npm'\n"),
        ):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def _certificates(directory: Path) -> tuple[bytes, ssl.SSLContext]:
    """An authority as PEM, and what a server of all places needs. Python 3.13 and newer want all these extensions."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    only_signs = dict.fromkeys(_USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
    root = (
        _builder("tests only", authority_key, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**only_signs), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    leaf = (
        _builder(PLACES[0], key, authority_key)
        .add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, PLACES))), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = directory / "server.pem"
    file.write_bytes(private + leaf.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return root.public_bytes(pem), context


def _builder(name: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now, public = datetime.now(UTC), key.public_key()
    issuer, subject = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in ("tests only", name))
    builder = x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number())
    return (
        builder.not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
