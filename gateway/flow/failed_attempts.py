"""How often each address may come with a key that is none, before it is told to wait.

Counted in this process alone and forgotten with it: it spares the database and slows a misconfigured client, and is no
secret's protection (a key has at least 160 random bits). A valid key is never refused here: see `authenticate`.
"""

from __future__ import annotations

from gateway.domain.errors import RateLimited
from gateway.flow.call_limits import MOST_NAMES, Rates, home_of

PER_MINUTE = 30.0
BURST = 30


class FailedAttempts:
    """Failures by address; the oldest address is forgotten when there are too many."""

    def __init__(self, per_minute: float = PER_MINUTE, burst: int = BURST, most: int = MOST_NAMES) -> None:
        self._rates = Rates(per_minute, burst, most)

    def count(self, address: str, now_s: float) -> None:
        """One more failure. Raises RateLimited with the true wait when there were too many, and does not count it."""
        wait_s = self._rates.count(home_of(address), now_s)
        if wait_s > 0:
            raise RateLimited(
                "Too many calls with unknown keys came from this address. Check the key before calling again.", wait_s
            )

    def forgive(self, address: str) -> None:
        """Take one counted failure back: it was none."""
        home = home_of(address)
        if home in self._rates:
            self._rates.charge(home, 0.0, -1)

    def __len__(self) -> int:
        return len(self._rates)
