"""Learned speeds and swap times beyond the hot store: the leader writes them down, a leader without any reads them.

They change slowly and nothing correct depends on them: a database that is away is tried again a minute later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from gateway.domain.errors import StoreUnavailable
from gateway.domain.managed import Speed, SpeedOf
from gateway.domain.speeds import Row, Speeds
from gateway.flow.dispatch import Dispatcher
from gateway.ports import SpeedBooks

LOOK_EVERY_S = 2.0
SAVE_EVERY_S = 60.0
AT_MOST_S = 2.0
"""A dispatcher that takes over, and a process that ends, wait no longer than this for the database."""

_KINDS = {"generation": SpeedOf.CHECKPOINT, "swap": SpeedOf.SWAP, "upscale": SpeedOf.UPSCALER}
_NAMES = {of: kind for kind, of in _KINDS.items()}


class Librarian:
    """Keeps what the dispatcher's scheduler has learned; `wall` gives seconds since the epoch."""

    def __init__(self, books: SpeedBooks, dispatcher: Dispatcher, wall: Callable[[], float]) -> None:
        self._books = books
        self._dispatcher = dispatcher
        self._wall = wall
        self._speeds: Speeds | None = None
        self._kept: frozenset[Row] = frozenset()

    async def run(self) -> None:
        """Write down what is new once a minute, and once more when cancelled. Only what this process learned itself."""
        try:
            while True:
                await self._for_a_minute()
                with suppress(StoreUnavailable):
                    await self.save()
        finally:
            with suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(AT_MOST_S):
                    await self.save()

    async def _for_a_minute(self) -> None:
        """Note who leads while the minute passes: cancelled, the dispatcher may have forgotten by then."""
        for _ in range(round(SAVE_EVERY_S / LOOK_EVERY_S)):
            scheduler = self._dispatcher.scheduler
            self._speeds = scheduler.speeds if scheduler is not None else None
            await asyncio.sleep(LOOK_EVERY_S)

    async def save(self) -> None:
        """Write down what was learned since the last time. Raises StoreUnavailable."""
        if self._speeds is None:
            return
        rows = frozenset(self._speeds.dump())
        new = [Speed(backend, _KINDS[kind], name, value) for kind, backend, name, value in rows - self._kept]
        if new:
            await self._books.save_speeds(new, self._wall())
            self._kept = rows


async def recalled(books: SpeedBooks) -> Sequence[Row]:
    """What was written down; nothing while the database is away or slow."""
    try:
        async with asyncio.timeout(AT_MOST_S):
            kept = await books.load_speeds()
    except (StoreUnavailable, TimeoutError):
        return ()
    return [(_NAMES[speed.of], speed.backend, speed.name, speed.seconds) for speed in kept]
