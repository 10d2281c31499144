"""When to stop asking a store that does not answer, and when to ask again. Knows no Redis and reads no clock."""

from __future__ import annotations


class Breaker:
    """Closed while the store answers; open after a failure: then one probe each `period_s` and nothing else.

    `now` is any clock that never goes back, in seconds.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._next_probe = 0.0
        self._is_closed = True

    @property
    def is_closed(self) -> bool:
        """Whether the store answered when it was last heard of."""
        return self._is_closed

    def admits(self, now: float) -> bool:
        """Whether this call may be sent; the one that may while the breaker is open is the probe of its period."""
        if self._is_closed:
            return True
        if now < self._next_probe:
            return False
        self._next_probe = now + self._period_s
        return True

    def succeeded(self) -> None:
        """The store answered."""
        self._is_closed = True

    def failed(self, now: float) -> None:
        """The store did not answer, or cannot do its work."""
        self._is_closed = False
        self._next_probe = now + self._period_s
