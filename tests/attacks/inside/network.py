"""Reaching anything but the gateway."""

import os
import socket
import struct

from .attempt import Lab, attempt

_UNREACHABLE = ("ENETUNREACH", "ECONNREFUSED", "EHOSTUNREACH", "EADDRNOTAVAIL", "EACCES", "EPERM", "EAFNOSUPPORT")
_NO_FAMILY = ("EAFNOSUPPORT", "EPERM", "EACCES", "ENOSYS", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT")


def connect(address: str, port: int) -> str:
    """Connect by TCP."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(2.0)
        client.connect((address, port))
    return "connected"


for _address, _port, _title in (
    ("169.254.169.254", 80, "the cloud's metadata"),
    ("168.63.129.16", 80, "Azure's metadata"),
    ("fd00:ec2::254", 80, "metadata by IPv6"),
    ("10.0.2.2", 80, "the host behind a virtual network"),
    ("10.88.0.1", 80, "podman's bridge"),
    ("172.17.0.1", 80, "Docker's bridge"),
    ("192.168.0.1", 80, "the router"),
    ("1.1.1.1", 443, "the internet by address"),
    ("2606:4700:4700::1111", 443, "the internet by IPv6"),
    ("8.8.8.8", 53, "a name server by TCP"),
):

    @attempt("network", f"{_title}, directly", *_UNREACHABLE)
    def _(_: Lab, address: str = _address, port: int = _port) -> str:
        return connect(address, port)


@attempt("network", "a service of the host on its loopback", *_UNREACHABLE)
def _(lab: Lab) -> str:
    return connect("127.0.0.1", lab["host port"])


@attempt("network", "the model's server on the host's loopback, without the gateway", *_UNREACHABLE)
def _(lab: Lab) -> str:
    return connect("127.0.0.1", lab["model port"])


@attempt("network", "the host by its own address", *_UNREACHABLE)
def _(lab: Lab) -> str:
    return connect(lab["host address"], lab["host port"])


@attempt("network", "an abstract socket of the host", "ECONNREFUSED", "EPERM")
def _(lab: Lab) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0{lab['abstract']}")
    return "connected"


@attempt("network", "a unix socket beside the host's home", "ENOENT", "EACCES")
def _(lab: Lab) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(lab["host socket"])
    return "connected"


@attempt("network", "a name server by UDP", *_UNREACHABLE)
def _(_: Lab) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1.0)
        client.connect(("8.8.8.8", 53))
        client.send(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01")
        return f"answered {len(client.recv(512))} bytes"


@attempt("network", "broadcast into the local network", *_UNREACHABLE)
def _(_: Lab) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        return f"sent {client.sendto(b'attack', ('255.255.255.255', 9))} bytes"


for _name in ("example.com", "metadata.google.internal", "host.containers.internal", "host.docker.internal"):

    @attempt("network", f"resolve {_name}", "no such name")
    def _(_: Lab, name: str = _name) -> str:
        return f"found {socket.getaddrinfo(name, 80)[0][4][0]}"


def _family(title: str, family: int, kind: int, protocol: int = 0) -> None:
    @attempt("network", title, *_NO_FAMILY)
    def _(_: Lab) -> str:
        socket.socket(family, kind, protocol).close()
        return "it was made"


_family("a raw IP socket", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
_family("a raw ICMP socket", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
_family("a packet socket", 17, socket.SOCK_RAW, socket.htons(3))
_family("a packet socket without addresses", 17, socket.SOCK_DGRAM, socket.htons(3))
_family("VSOCK, which leaves a virtual machine", 40, socket.SOCK_STREAM)
_family("the kernel's ciphers, AF_ALG", 38, socket.SOCK_SEQPACKET)
_family("Bluetooth", 31, socket.SOCK_RAW, 1)
_family("keys of IPsec, AF_KEY", 15, socket.SOCK_RAW, 2)
_family("XDP", 44, socket.SOCK_RAW)
_family("the bus of cars, AF_CAN", 29, socket.SOCK_RAW, 1)
_family("TIPC", 30, socket.SOCK_STREAM)
_family("RDS", 21, socket.SOCK_SEQPACKET)
_family("the kernel's audit by netlink", 16, socket.SOCK_RAW, 99)


@attempt("network", "a network device of its own, by netlink", "EPERM", "EOPNOTSUPP", *_NO_FAMILY)
def _(_: Lab) -> str:
    return _ask_kernel(16, 0x0605, struct.pack("BxHiII", 0, 0, 0, 0, 0) + struct.pack("HH8s", 12, 3, b"attack0\0"))


@attempt("network", "a route of its own, by netlink", "EPERM", *_NO_FAMILY)
def _(_: Lab) -> str:
    return _ask_kernel(24, 0x0605, struct.pack("BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0) + struct.pack("HHI", 8, 4, 1))


def _ask_kernel(kind: int, flags: int, body: bytes) -> str:
    with socket.socket(16, socket.SOCK_RAW, 0) as link:
        link.settimeout(2.0)
        link.send(struct.pack("IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        error = struct.unpack("i", link.recv(4096)[16:20])[0]
    if error:
        raise OSError(-error, os.strerror(-error))
    return "it was made"


@attempt("network", "any interface but its own loopback", "only loopback")
def _(_: Lab) -> str:
    names = {name for _, name in socket.if_nameindex()}
    return "only loopback" if names <= {"lo", "tunl0", "sit0", "gre0", "erspan0", "gretap0", "ip6tnl0"} else f"{names}"


@attempt("network", "listen where a user may not", "EACCES", "EPERM")
def _(_: Lab) -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 53))
    return "it listens"
