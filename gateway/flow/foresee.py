"""The leader's forecast of the queue, published every few seconds for all processes.

Rehearsing a long queue takes seconds of computing. It is done in slices of a few milliseconds with long rests between
them, so that calls and decisions hardly notice. (In a thread it would hold the interpreter just as long, and longer at
a time.) A process that does not lead does nothing; a forecast whose leader has gone ends by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import suppress

from gateway.domain.errors import StoreUnavailable
from gateway.domain.scheduling import Forecast, forecasting
from gateway.flow.dispatch import Dispatcher
from gateway.ports import PoolStore

EVERY_S = 2.0
SLICE_S = 0.002
RESTS = 4.0
"""A slice is followed by a rest so many times as long: a fifth of one core at most."""


class Foresight:
    """One process's part in it."""

    def __init__(self, dispatcher: Dispatcher, pool: PoolStore) -> None:
        self._dispatcher = dispatcher
        self._pool = pool

    async def run(self) -> None:
        """Foretell for ever. While the store is away nothing is foretold, and nobody could read it."""
        while True:
            await asyncio.sleep(EVERY_S)
            with suppress(StoreUnavailable):
                await self.step()

    async def step(self) -> bool:
        """One forecast; False when this process does not lead, or no longer. Raises StoreUnavailable."""
        scheduler, seen = self._dispatcher.scheduler, self._dispatcher.pool
        if scheduler is None or seen is None:
            return False
        forecast = await unhurried(forecasting(scheduler, seen.at))
        return await self._pool.foretell(forecast)


async def unhurried(steps: Generator[None, None, Forecast]) -> Forecast:
    """What the steps come to, taken a few at a time."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        if (took_s := clock() - begun) >= SLICE_S:
            await asyncio.sleep(RESTS * took_s)
            begun = clock()
