"""Who calls: the socket's peer, or what trusted proxies say of it.

Each proxy appends the peer it saw to `X-Forwarded-For`, so the right-most entry that is no trusted proxy itself is the
last one that somebody trusted wrote; everything left of it the caller may have made up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def caller_address(peer: str, forwarded: Iterable[str], trusted: Sequence[Network]) -> str:
    """The caller's IP address, "" when the peer has none. `forwarded`: every X-Forwarded-For line, in order."""
    address = _read(peer)
    if address is None:
        return ""
    if trusted and _lies_in(address, trusted):
        for entry in reversed([part for line in forwarded for part in line.split(",")]):
            found = _read(entry)
            if found is None:  # whatever stands left of it is worth no more
                break
            address = found
            if not _lies_in(address, trusted):
                break
    return str(address)


def _lies_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _read(text: str) -> Address | None:
    """An address, also with brackets, a port (some proxies write one) or IPv4 in IPv6 form; None if it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A socket for both families names an IPv4 peer ::ffff:192.0.2.7.
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
