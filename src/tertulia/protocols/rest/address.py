"""Where a request comes from, believing only those proxies that the operator trusts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_Network = IPv4Network | IPv6Network
_Address = IPv4Address | IPv6Address


class ClientAddresses:
    """Reads the client's address off a request.

    `X-Forwarded-For` is a list to which every proxy adds whom it got the request from; everything left of
    the first address that is no trusted proxy may be invented, so it is read from the right.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        """`trusted`: addresses and networks (CIDR).  Raises ValueError."""
        self._trusted: tuple[_Network, ...] = tuple(ip_network(one, strict=False) for one in trusted)

    def of(self, peer: str | None, forwarded: Sequence[bytes]) -> str:
        """The client's address; "" when even the peer's is unknown.  `forwarded`: the values of all
        `X-Forwarded-For` headers in order."""
        if not peer:
            return ""
        if not self._trusted or not self._trusts(peer):
            return peer
        address = peer
        hops = [hop.strip() for hop in b",".join(forwarded).decode("latin-1").split(",")]
        for hop in reversed(hops):
            plain = _plain(hop)
            if plain is None:
                break
            address = str(plain)
            if not self._trusts(address):
                break
        return address

    def _trusts(self, address: str) -> bool:
        plain = _plain(address)
        return plain is not None and any(plain in network for network in self._trusted)


def _plain(text: str) -> _Address | None:
    """The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
