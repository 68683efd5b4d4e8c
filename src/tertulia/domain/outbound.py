"""Where the server may go when it fetches something for somebody; pure decisions.

A policy belongs to one client. The client for what *users* name (previews, webhooks) should have
an empty allow-list; an operator's internal gateway gets a client of its own that lists it, so that
no user's URL, nor a redirect from one, can reach the gateway.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

import msgspec

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
URL_REASONS: Final = frozenset({"scheme", "userinfo", "host", "port", "numeric_host"})
"""The reasons of `judge_url`'s own; any other one is `judge_address`'s, about a literal."""


class Allowed(msgspec.Struct, frozen=True):
    """Go ahead; `reason` says which rule let it pass."""

    reason: str


class Refused(msgspec.Struct, frozen=True):
    """Do not; `reason` is a stable word such as `loopback` or `port`."""

    reason: str


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a URL that decide, as the connecting side understands them.

    `host` is lower-case ASCII without the brackets of an IPv6 literal. Filling this from another
    parser than the one that connects would open the gap that the check exists to close.
    """

    scheme: str
    host: str
    port: int
    has_userinfo: bool = False


class OutboundPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Which targets are allowed beyond the public internet's web ports.

    `hosts`: names whose every address is trusted; `endpoints`: the same with one port, which need
    not be in `ports`; `networks`: addresses that are allowed though not public.
    """

    ports: frozenset[int] = frozenset({80, 443})
    hosts: frozenset[str] = frozenset()
    endpoints: frozenset[tuple[str, int]] = frozenset()
    networks: tuple[Network, ...] = ()

    def trusts(self, host: str, port: int) -> bool:
        """Whether the operator vouches for this name (or literal address) at this port."""
        return host in self.hosts or (host, port) in self.endpoints


_ENDPOINT = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^:\[\]/]+))(?::(?P<port>[0-9]{1,5}))?")


def parse_policy(entries: Iterable[str], *, ports: Iterable[int] = (80, 443)) -> OutboundPolicy:
    """Read an operator's list: `gateway.lan`, `gateway.lan:8080`, `10.1.0.0/16`, `[fd00::1]:80`.

    Raises ValueError naming the entry that is none of these.
    """
    hosts: set[str] = set()
    endpoints: set[tuple[str, int]] = set()
    networks: list[Network] = []
    for entry in entries:
        text = entry.strip().lower()
        if "/" in text:
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError as error:
                raise ValueError(f"not a network: {entry!r} ({error})") from None
            continue
        found = _ENDPOINT.fullmatch(text)
        if found is None or not text.isascii():
            raise ValueError(f"not host, host:port or network: {entry!r}")
        host = (found["v6"] or found["name"]).rstrip(".")
        if found["v6"]:
            host = str(ipaddress.IPv6Address(host))
        if found["port"] is None:
            hosts.add(host)
        elif 1 <= (port := int(found["port"])) <= 65_535:
            endpoints.add((host, port))
        else:
            raise ValueError(f"no such port: {entry!r}")
    return OutboundPolicy(
        ports=frozenset(ports),
        hosts=frozenset(hosts),
        endpoints=frozenset(endpoints),
        networks=tuple(networks),
    )


def _table(*rows: tuple[str, str]) -> tuple[tuple[Network, str], ...]:
    return tuple((ipaddress.ip_network(network), reason) for network, reason in rows)


# From the IANA special-purpose address registries (RFC 6890 and what it lists since). Written out
# because `ipaddress`'s own idea of "global" differs between Python releases; first match counts.
_SPECIAL: Final = _table(
    ("0.0.0.0/32", "unspecified"),
    ("0.0.0.0/8", "this_network"),  # RFC 791
    ("10.0.0.0/8", "private"),  # RFC 1918
    ("100.64.0.0/10", "shared"),  # RFC 6598
    ("127.0.0.0/8", "loopback"),  # RFC 1122
    ("169.254.0.0/16", "link_local"),  # RFC 3927, and the metadata services of clouds
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol_assignment"),  # RFC 6890
    ("192.0.2.0/24", "documentation"),  # RFC 5737
    ("192.31.196.0/24", "as112"),  # RFC 7535
    ("192.52.193.0/24", "amt"),  # RFC 7450
    ("192.88.99.0/24", "6to4_relay"),  # RFC 7526
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "as112"),  # RFC 7534
    ("198.18.0.0/15", "benchmark"),  # RFC 2544
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),  # RFC 5771
    ("255.255.255.255/32", "broadcast"),  # RFC 919
    ("240.0.0.0/4", "reserved"),  # RFC 1112
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "ipv4_mapped"),  # RFC 4291 section 2.5.5.2
    ("::ffff:0:0:0/96", "ipv4_translated"),  # RFC 2765
    ("::/96", "ipv4_compatible"),  # RFC 4291 section 2.5.5.1
    ("64:ff9b::/96", "nat64"),  # RFC 6052
    ("64:ff9b:1::/48", "nat64"),  # RFC 8215
    ("100::/64", "discard"),  # RFC 6666
    ("2001::/32", "teredo"),  # RFC 4380
    ("2001::/23", "protocol_assignment"),  # RFC 2928
    ("2001:db8::/32", "documentation"),  # RFC 3849
    ("2002::/16", "6to4"),  # RFC 3056
    ("3fff::/20", "documentation"),  # RFC 9637
    ("5f00::/16", "segment_routing"),  # RFC 9602
    ("fc00::/7", "private"),  # RFC 4193
    ("fe80::/10", "link_local"),  # RFC 4291
    ("fec0::/10", "site_local"),  # RFC 3879
    ("ff00::/8", "multicast"),  # RFC 4291
)
_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")  # RFC 3587: all that is handed out so far
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})  # RFC 5214 section 6.1


def judge_address(address: Address, policy: OutboundPolicy | None = None) -> Allowed | Refused:
    """May the server open a connection to this address? Only public unicast, or what is listed."""
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return Refused("scoped")
    for network in policy.networks if policy else ():
        if address.version == network.version and address in network:
            return Allowed("listed_network")
    for network, reason in _SPECIAL:
        if address.version == network.version and address in network:
            return Refused(reason)
    if isinstance(address, ipaddress.IPv6Address):
        if address not in _GLOBAL_V6:
            return Refused("not_global")
        if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
            return Refused("isatap")
    return Allowed("public")


_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def literal_address(host: str) -> Address | None:
    """The address that `host` spells in the canonical way, or None when it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def judge_url(target: Target, policy: OutboundPolicy) -> Allowed | Refused:
    """May the server ask this URL, as far as can be said before its name is resolved?

    `Allowed` is not the last word: each address of the name is judged as well.
    """
    if target.scheme not in DEFAULT_PORTS:
        return Refused("scheme")
    if target.has_userinfo:
        return Refused("userinfo")
    host = target.host.removesuffix(".")
    if not host or not host.isascii() or len(host) > 253:
        return Refused("host")
    if target.port not in policy.ports and (host, target.port) not in policy.endpoints:
        return Refused("port")
    trusted = policy.trusts(host, target.port)
    if (address := literal_address(host)) is not None:
        return Allowed("listed_host") if trusted else judge_address(address, policy)
    labels = host.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        return Refused("host")
    # `127.1`, `0x7f000001` and `2130706433` are addresses to a resolver (WHATWG URL, "ends in a
    # number"), though no name may end so.
    if _NUMBER.fullmatch(labels[-1]):
        return Refused("numeric_host")
    return Allowed("listed_host" if trusted else "name")
