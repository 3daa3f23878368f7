"""Which addresses a sandbox may reach."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address, ip_address

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nanoclaw.gateway.decision import Refused
from nanoclaw.gateway.network import Address, Network, is_allowed, is_own, is_public, may_be_private

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_a_special_address_is_not_public(text: str):
    assert not is_public(ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "172.32.0.1",
        "192.167.255.255",
        "223.255.255.254",
        "2606:4700:4700::1111",
        "2a00:1450::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_an_ordinary_address_is_public(text: str):
    assert is_public(ip_address(text))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.ip_addresses(v=4))
@example(IPv4Address("192.0.0.9"))
def test_what_python_calls_special_is_never_public_in_version_4(address: IPv4Address):
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert not is_public(address)
    else:
        refused_beyond = [
            ipaddress.ip_network(block) for block in ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24")
        ]
        assert is_public(address) or any(address in block for block in refused_beyond)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.ip_addresses(v=6),
        st.sampled_from(["2001::/16", "2002::/16", "3fff::/16", "fe80::/10", "fc00::/7", "ff00::/8"]).flatmap(
            lambda block: st.ip_addresses(network=block)
        ),
    )
)
def test_what_python_calls_special_is_never_public_in_version_6(address: IPv6Address):
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast
        assert address.sixtofour is None
        assert address.teredo is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "64:ff9b::"]))
def test_a_wrapped_address_is_judged_as_what_it_wraps(address: IPv4Address, prefix: str):
    wrapped = IPv6Address(int(IPv6Address(prefix)) + int(address))
    assert is_public(wrapped) == is_public(address)


@pytest.mark.parametrize(
    "text",
    [
        "192.168.1.5",
        "10.0.0.1",
        "172.16.3.4",
        "127.0.0.1",
        "100.64.3.4",
        "::1",
        "fd12::1",
        "::ffff:192.168.1.5",
        "8.8.8.8",
    ],
)
def test_a_host_named_as_private_may_have_a_private_address_or_a_public_one(text: str):
    assert may_be_private(ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        *("169.254.169.254", "169.254.1.1", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
        *("fd00:ec2::254", "fd20:ce::254", "fe80::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"),
        *("0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1", "2002:a9fe:a9fe::"),
    ],
)
def test_even_a_host_named_as_private_has_no_link_local_address_and_no_clouds_metadata(text: str):
    assert not may_be_private(ip_address(text))


def test_the_machines_own_address_is_not_allowed_however_it_looks():
    assert is_own(ip_address("127.0.0.1"))
    assert not is_own(ip_address("192.0.2.1"))
    assert not is_allowed(ip_address("8.8.8.8"), lambda address: True)
    assert is_allowed(ip_address("8.8.8.8"), lambda address: False)


async def connect(network: Network, host: str, port: int, *, private: bool = False) -> SocketStream:
    return await network.connect(host, port, anyio.CapacityLimiter(1), private=private)


def resolving(*answers: list[str]):
    """A resolver that gives these answers, one after the other."""
    waiting = list(answers)

    async def resolve(host: str, port: int) -> list[str]:
        return waiting.pop(0)

    return resolve


@pytest.mark.parametrize(
    "answer", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["::1"], ["169.254.169.254"]]
)
async def test_a_name_with_any_private_address_is_refused(answer: list[str]):
    with pytest.raises(Refused) as caught:
        await connect(Network(resolving(answer)), "rebind.example", 443)
    assert caught.value.refuse.status == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "::1"])
async def test_loopback_is_refused_by_the_systems_resolver_however_it_is_written(host: str):
    with pytest.raises(Refused) as caught:
        await connect(Network(), host, 443)
    assert caught.value.refuse.status in (403, 502)


async def test_a_refused_private_host_says_how_the_owner_can_open_it_and_a_metadata_address_does_not():
    with pytest.raises(Refused) as caught:
        await connect(Network(resolving(["192.168.1.5"])), "nas.home", 8080)
    assert "nas.home:8080 in network.private of nanoclaw.toml" in caught.value.refuse.sentence
    with pytest.raises(Refused) as caught:
        await connect(Network(resolving(["169.254.169.254"])), "nas.home", 8080, private=True)
    assert (caught.value.refuse.status, caught.value.refuse.reason) == (403, "address")
    assert "never open" in caught.value.refuse.sentence


async def test_lookups_that_hang_hold_up_their_own_group_alone():
    hanging, go_on = anyio.Event(), anyio.Event()

    async def resolve(host: str, port: int) -> list[str]:
        if host == "slow.example":
            hanging.set()
            await go_on.wait()
        return ["127.0.0.1"]

    network = Network(resolve)
    ours, theirs = anyio.CapacityLimiter(1), anyio.CapacityLimiter(1)
    order: list[str] = []

    async def ask(name: str, host: str, lookups: anyio.CapacityLimiter) -> None:
        with pytest.raises(Refused):
            await network.connect(host, 443, lookups, private=False)
        order.append(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "slow", "slow.example", ours)
        await hanging.wait()
        tasks.start_soon(ask, "behind it", "fast.example", ours)
        await ask("another group's", "fast.example", theirs)
        go_on.set()
    assert order == ["another group's", "slow", "behind it"]


async def test_only_the_address_that_was_checked_is_connected_to():
    def judge(address: Address) -> bool:
        return address == ip_address("127.0.0.1")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)
        network = Network(resolving(["127.0.0.1"], ["127.0.0.2"]), judge)
        async with await connect(network, "rebind.example", port) as stream:
            assert stream.extra(SocketAttribute.remote_address) == ("127.0.0.1", port)
        with pytest.raises(Refused):
            await connect(network, "rebind.example", port)


async def test_the_next_address_is_tried_when_one_is_dead():
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)
        network = Network(resolving(["127.0.0.2", "127.0.0.1"]), lambda address: True)
        async with await connect(network, "two.example", port) as stream:
            assert stream.extra(SocketAttribute.remote_address) == ("127.0.0.1", port)


async def test_a_name_that_does_not_resolve_is_said():
    async def resolve(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    with pytest.raises(Refused) as caught:
        await connect(Network(resolve), "nowhere.example", 443)
    assert caught.value.refuse.status == 502
    assert "nowhere.example" in caught.value.refuse.sentence
