"""How often each key and each address may call for what is no picture, counted in this process alone.

It protects this process, not the pool: no store is asked, another process counts anew, and the limits are so high that
no client meets them. A large body counts as many calls as its reading costs. Calls for pictures have the plan's rate;
of them only those count here that were refused unadmitted. `/livez` and `/readyz` are never counted.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from gateway.domain.errors import TooManyCalls
from gateway.domain.limits import MICROSECONDS, TooSoon, decide_rate, interval_us

KEY_CALLS_PER_MINUTE = 6_000
ADDRESS_CALLS_PER_MINUTE = 6_000
MOST_NAMES = 20_000
BYTES_PER_CALL = 100_000  # reading so much of a body takes about as long as a small call
_BURST_S = 10.0
_IPV6 = 6
_HOME_BITS = 64  # whoever has one IPv6 address has these many more


class Rates:
    """A rate for each name, by GCRA. The one that came longest ago is forgotten when there are too many."""

    def __init__(self, per_minute: float, burst: int, most_names: int = MOST_NAMES) -> None:
        self._every_us = interval_us(per_minute)
        self._burst = burst
        self._most = most_names
        self._arrivals: dict[str, int] = {}

    def count(self, name: str, now_s: float) -> float:
        """Count one more and give 0.0; or count nothing and give the seconds after which one fits."""
        decided = decide_rate(self._arrivals.get(name, 0), round(now_s * MICROSECONDS), self._every_us, self._burst)
        if isinstance(decided, TooSoon):
            return decided.retry_after_us / MICROSECONDS
        self._keep(name, decided.arrival_us)
        return 0.0

    def wait_s(self, name: str, now_s: float) -> float:
        """The seconds after which one fits, 0.0 if now. Nothing is counted."""
        decided = decide_rate(self._arrivals.get(name, 0), round(now_s * MICROSECONDS), self._every_us, self._burst)
        return decided.retry_after_us / MICROSECONDS if isinstance(decided, TooSoon) else 0.0

    def charge(self, name: str, now_s: float, calls: int) -> None:
        """Count so many, whether they fit or not; fewer than none are taken back."""
        if calls:
            now_us = round(now_s * MICROSECONDS) if calls > 0 else 0
            self._keep(name, max(self._arrivals.get(name, 0), now_us) + calls * self._every_us)

    def _keep(self, name: str, arrival_us: int) -> None:
        self._arrivals.pop(name, None)  # put at the end again: the dictionary is ordered by the last call
        self._arrivals[name] = arrival_us
        if len(self._arrivals) > self._most:
            del self._arrivals[next(iter(self._arrivals))]

    def __contains__(self, name: str) -> bool:
        return name in self._arrivals

    def __len__(self) -> int:
        return len(self._arrivals)


class CallLimits:
    """The limits of one process."""

    def __init__(
        self, key_per_minute: int = KEY_CALLS_PER_MINUTE, address_per_minute: int = ADDRESS_CALLS_PER_MINUTE
    ) -> None:
        self._keys = _with_burst(key_per_minute)
        self._addresses = _with_burst(address_per_minute)

    def refuse(self, key_id: str, now_s: float) -> None:
        """Raise TooManyCalls while the key has called too often."""
        _refuse("key", self._keys.wait_s(key_id, now_s))

    def count(self, key_id: str, now_s: float) -> None:
        """One more call of the key. Raises TooManyCalls instead of counting it."""
        _refuse("key", self._keys.count(key_id, now_s))

    def charge(self, key_id: str, now_s: float, body_bytes: int, calls: int = 0) -> None:
        """The key has made so many calls more, and this body was read for it."""
        self._keys.charge(key_id, now_s, calls + body_bytes // BYTES_PER_CALL)

    def count_stranger(self, address: str, now_s: float) -> None:
        """One more call without a key. Raises TooManyCalls instead of counting it; without an address none is."""
        if address:
            _refuse("address", self._addresses.count(home_of(address), now_s))


def home_of(address: str) -> str:
    """What counts as one caller: an IPv4 address, or the /64 of an IPv6 address; anything else as it is."""
    if ":" not in address:
        return address
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if found.version != _IPV6:
        return address
    return str(ip_network((int(found), _HOME_BITS), strict=False))


def _with_burst(per_minute: int) -> Rates:
    return Rates(per_minute, max(1, round(per_minute * _BURST_S / 60)))


def _refuse(whose: str, wait_s: float) -> None:
    if wait_s > 0:
        raise TooManyCalls(f"This {whose} calls far more often than any client needs. Call less often.", wait_s)
