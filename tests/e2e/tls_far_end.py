"""The internet, as far as sign-ins need it: a proxy that answers for named hosts itself, with a certificate of its own.

What it decrypts goes to a server on loopback, and everybody else is refused.
"""

import socket
import ssl
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@contextmanager
def tls_far_end(origins: Mapping[str, str], directory: Path) -> Generator[dict[str, str]]:
    """Run the proxy. Answers the environment that leads a program through it.

    Args:
        origins: for each host, e.g. `auth.openai.com`, the origin of the server that answers for it.
        directory: where certificates and keys are put.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority, server = _make_certificates(list(origins), directory)
    context.load_cert_chain(server)
    with _Proxy(origins, context) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield {
                "HTTPS_PROXY": f"http://127.0.0.1:{proxy.server_address[1]}",
                "NO_PROXY": "127.0.0.1,localhost",
                "SSL_CERT_FILE": str(authority),
                "NODE_EXTRA_CA_CERTS": str(authority),
            }
        finally:
            proxy.shutdown()
            thread.join()


class _Proxy(ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, origins: Mapping[str, str], context: ssl.SSLContext) -> None:
        self.origins = origins
        self.context = context
        super().__init__(("127.0.0.1", 0), _Tunnel)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients leave whenever they like."""


class _Tunnel(StreamRequestHandler):
    server: _Proxy  # pyright: ignore[reportIncompatibleVariableOverride] - socketserver types it as its base class

    def handle(self) -> None:
        host = self.rfile.readline().split()[1].decode().rpartition(":")[0]
        while self.rfile.readline().strip():
            pass
        if host not in self.server.origins:
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            return
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        target = urlsplit(self.server.origins[host])
        with (
            self.server.context.wrap_socket(self.connection, server_side=True) as client,
            socket.create_connection((target.hostname or "", target.port or 0)) as server,
        ):
            upwards = threading.Thread(target=_copy, args=(client, server))
            upwards.start()
            _copy(server, client)
            upwards.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def _make_certificates(hosts: list[str], directory: Path) -> tuple[Path, Path]:
    """An authority and what it has certified, with its key; two of them, as not everybody takes one for both."""
    names = [x509.DNSName(host) for host in hosts]
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    authority = _certificate("authority", keys[0], "authority", keys[0]).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    server = _certificate("far end", keys[1], "authority", keys[0]).add_extension(
        x509.SubjectAlternativeName(names), critical=False
    )
    authority_path, server_path = directory / "authority.pem", directory / "server.pem"
    authority_path.write_bytes(authority.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    secret = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    server_path.write_bytes(server.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + secret)
    return authority_path, server_path


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=1),
        not_valid_after=now + timedelta(days=1),
    ).add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
