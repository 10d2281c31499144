"""How long to wait for an answer, in time during which the event loop turned.

A loop that is busy for a second reads nothing in it: an ordinary time-out that falls due meanwhile fires although the
answer lies in the socket, and the store is blamed for our own load. Here one ticking timer serves every wait, and a
tick counts little however late it comes. While the loop turns freely the two are the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TICK_S = 0.02
MOST_A_TICK_COUNTS_S = 0.04


class Patience:
    """Limits waits; TimeoutError is raised inside the block whose limit has passed."""

    def __init__(self) -> None:
        self._turned_s = 0.0  # time that counted so far
        self._ends: dict[asyncio.Timeout, float] = {}
        self._ticked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_resting(self) -> bool:
        """Whether nobody waits, so that no timer runs."""
        return not self._ends and self._timer is None

    @asynccontextmanager
    async def limit(self, seconds: float) -> AsyncIterator[None]:
        """The block may take this long, give or take a tick. Raises TimeoutError."""
        async with asyncio.timeout(None) as timeout:
            self._ends[timeout] = self._turned_s + seconds
            if self._timer is None:
                self._wait_for_tick()
            try:
                yield
            finally:
                self._ends.pop(timeout, None)

    def _wait_for_tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._ticked_at = loop.time()
        self._timer = loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        self._turned_s += min(now - self._ticked_at, MOST_A_TICK_COUNTS_S)
        self._timer = None
        for timeout in [timeout for timeout, end in self._ends.items() if end <= self._turned_s]:
            del self._ends[timeout]  # told once: what it interrupts may take longer than a tick to clean up
            timeout.reschedule(now)
        if self._ends:
            self._wait_for_tick()
