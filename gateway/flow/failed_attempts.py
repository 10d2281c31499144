"""How often each address may come with a key that is none, before it is told to wait.

Counted in this process alone and forgotten with it: it spares the database and slows a misconfigured client, and is no
secret's protection (a key has at least 160 random bits). A valid key is never refused here: see `authenticate`.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from gateway.domain.errors import RateLimited
from gateway.domain.limits import MICROSECONDS, TooSoon, decide_rate, interval_us

PER_MINUTE = 30.0
BURST = 30
MOST_ADDRESSES = 20_000
_IPV6 = 6
_HOME_BITS = 64  # whoever has one IPv6 address has these many more


class FailedAttempts:
    """Failures by address, as arrival times of GCRA; the oldest address is forgotten when there are too many."""

    def __init__(self, per_minute: float = PER_MINUTE, burst: int = BURST, most: int = MOST_ADDRESSES) -> None:
        self._every_us = interval_us(per_minute)
        self._burst = burst
        self._most = most
        self._arrivals: dict[str, int] = {}

    def count(self, address: str, now_s: float) -> None:
        """One more failure. Raises RateLimited with the true wait when there were too many, and does not count it."""
        home = _home_of(address)
        now_us = round(now_s * MICROSECONDS)
        decided = decide_rate(self._arrivals.get(home, 0), now_us, self._every_us, self._burst)
        if isinstance(decided, TooSoon):
            raise RateLimited(
                "Too many calls with unknown keys came from this address. Check the key before calling again.",
                decided.retry_after_us / MICROSECONDS,
            )
        self._arrivals.pop(home, None)  # put at the end again: the dictionary is ordered by the last failure
        self._arrivals[home] = decided.arrival_us
        if len(self._arrivals) > self._most:
            del self._arrivals[next(iter(self._arrivals))]

    def forgive(self, address: str) -> None:
        """Take one counted failure back: it was none."""
        home = _home_of(address)
        if home in self._arrivals:
            self._arrivals[home] -= self._every_us

    def __len__(self) -> int:
        return len(self._arrivals)


def _home_of(address: str) -> str:
    """What counts as one caller: an IPv4 address, or the /64 of an IPv6 address; anything else as it is."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if found.version != _IPV6:
        return address
    return str(ip_network((int(found), _HOME_BITS), strict=False))
