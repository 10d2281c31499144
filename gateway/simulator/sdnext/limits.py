"""The two limits of SD.Next that count requests: 40 threads, and a rate limit that is checked after the work."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.simulator.sdnext.failures import RateLimited

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_WINDOW_S = 60.0
_COSTS = {"/sdapi/v1/txt2img": 5, "/sdapi/v1/img2img": 5, "/sdapi/v1/control": 5}


class Threads:
    """Every route runs in one of a few threads, also while it waits for the lock; with all taken everything hangs."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold a thread for the time of the block."""
        async with self._free:
            yield


class RateLimiter:
    """A sliding minute per client address and path. A refused call is not counted, so 200 and 429 alternate."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], deque[tuple[float, int]]] = {}

    def check(self, address: str, path: str, limit: object, now: float) -> None:
        """Count a finished call at `now` (seconds); raises `RateLimited` over `limit` points a minute (0: none)."""
        if not isinstance(limit, int) or limit <= 0:
            return
        calls = self._calls.setdefault((address, path), deque())
        while calls and calls[0][0] <= now - _WINDOW_S:
            calls.popleft()
        cost = _COSTS.get(path, 1)
        if sum(points for _, points in calls) + cost > limit:
            raise RateLimited(address, path)
        calls.append((now, cost))
