import ipaddress

import pytest

from tertulia.domain.outbound import (
    Allowed,
    OutboundPolicy,
    Refused,
    Target,
    judge_address,
    judge_url,
    parse_policy,
)

REFUSED_ADDRESSES = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "this_network",
    "10.0.0.1": "private",
    "100.64.0.1": "shared",
    "100.127.255.255": "shared",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "169.254.169.254": "link_local",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.170": "protocol_assignment",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4_relay",
    "192.168.1.1": "private",
    "198.18.0.1": "benchmark",
    "198.51.100.7": "documentation",
    "203.0.113.7": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::7f00:1": "ipv4_compatible",
    "::ffff:127.0.0.1": "ipv4_mapped",
    "::ffff:8.8.8.8": "ipv4_mapped",
    "::ffff:0:127.0.0.1": "ipv4_translated",
    "64:ff9b::7f00:1": "nat64",
    "64:ff9b:1::a00:1": "nat64",
    "100::1": "discard",
    "2001::1": "teredo",
    "2001:2::1": "protocol_assignment",
    "2001:db8::1": "documentation",
    "2002:7f00:1::": "6to4",
    "3fff::1": "documentation",
    "5f00::1": "segment_routing",
    "fc00::1": "private",
    "fd12:3456::1": "private",
    "fe80::1": "link_local",
    "fe80::1%eth0": "scoped",
    "2606:4700::1%1": "scoped",
    "fec0::1": "site_local",
    "ff02::1": "multicast",
    "4000::1": "not_global",
    "1::1": "not_global",
    "2606:4700::5efe:10.0.0.1": "isatap",
    "2606:4700::200:5efe:10.0.0.1": "isatap",
}
ALLOWED_ADDRESSES = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "198.20.0.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4007::1",
    "2001:4860:4860::8888",
]


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_an_address_that_is_not_public_is_refused_with_its_reason(address: str) -> None:
    assert judge_address(ipaddress.ip_address(address)) == Refused(REFUSED_ADDRESSES[address])


@pytest.mark.parametrize("address", ALLOWED_ADDRESSES)
def test_a_public_address_is_allowed(address: str) -> None:
    assert judge_address(ipaddress.ip_address(address)) == Allowed("public")


def test_a_listed_network_is_allowed_and_its_neighbour_is_not() -> None:
    policy = parse_policy(["10.1.0.0/16", "fd00:1::/32"])
    assert judge_address(ipaddress.ip_address("10.1.2.3"), policy) == Allowed("listed_network")
    assert judge_address(ipaddress.ip_address("fd00:1::9"), policy) == Allowed("listed_network")
    assert judge_address(ipaddress.ip_address("10.2.0.1"), policy) == Refused("private")
    # A mapped form of a listed IPv4 address is another address.
    assert judge_address(ipaddress.ip_address("::ffff:10.1.2.3"), policy) == Refused("ipv4_mapped")


def target(host: str, port: int = 443, scheme: str = "https", userinfo: bool = False) -> Target:
    return Target(scheme=scheme, host=host, port=port, has_userinfo=userinfo)


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (target("example.org", scheme="ftp"), "scheme"),
        (target("example.org", scheme="file"), "scheme"),
        (target("example.org", userinfo=True), "userinfo"),
        (target("example.org", port=22), "port"),
        (target("example.org", port=0), "port"),
        (target(""), "host"),
        (target("a..b"), "host"),
        (target("ex%20ample"), "host"),
        (target("-a.example"), "host"),
        (target("a" * 254), "host"),
        (target("127.1"), "numeric_host"),
        (target("2130706433"), "numeric_host"),
        (target("0x7f000001"), "numeric_host"),
        (target("0177.0.0.01"), "numeric_host"),
        (target("a.0x"), "numeric_host"),
        (target("127.0.0.1"), "loopback"),
        (target("::ffff:7f00:1"), "ipv4_mapped"),
        (target("fe80::1%25eth0"), "scoped"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.scheme}-{value.host[:20]}-{value.port}",
)
def test_a_url_is_refused_with_its_reason(wanted: Target, reason: str) -> None:
    assert judge_url(wanted, OutboundPolicy()) == Refused(reason)


def test_a_name_and_a_public_literal_pass() -> None:
    assert judge_url(target("example.org"), OutboundPolicy()) == Allowed("name")
    assert judge_url(target("example.org."), OutboundPolicy()) == Allowed("name")
    assert judge_url(target("1.1.1.1", port=80, scheme="http"), OutboundPolicy()) == Allowed("public")


def test_an_endpoint_opens_one_port_and_a_host_opens_the_usual_ones() -> None:
    policy = parse_policy(["gateway.lan:8080", "sms.lan", "[fd00::1]:9000", "127.0.0.1:8001"])
    assert judge_url(target("gateway.lan", 8080), policy) == Allowed("listed_host")
    assert judge_url(target("gateway.lan", 8081), policy) == Refused("port")
    assert judge_url(target("sms.lan"), policy) == Allowed("listed_host")
    assert judge_url(target("sms.lan", 8080), policy) == Refused("port")
    assert judge_url(target("fd00::1", 9000), policy) == Allowed("listed_host")
    assert judge_url(target("127.0.0.1", 8001), policy) == Allowed("listed_host")
    assert judge_url(target("127.0.0.1"), policy) == Refused("loopback")


@pytest.mark.parametrize(
    "entry", ["10.0.0.1/8", "http://x", "a:b:c", "x:70000", "x:0", "", "é.example", "1.2.3.4/99"]
)
def test_a_list_entry_that_is_nothing_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match=r"not host|not a network|no such port"):
        parse_policy([entry])
