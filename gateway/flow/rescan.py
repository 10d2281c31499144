"""Rescans: a file that was put on a backend is not in its lists before one (observed), and anybody may ask for one.

A wish is for the whole pool. The process that leads fulfils it on each backend whose slot is free, once a minute at
most: a backend that rescans has an empty list for a moment and fails to switch checkpoints (observed), so no job may
run there meanwhile. A wish that comes within the minute is kept until it is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gateway.domain.backends import Backend, BackendState
from gateway.domain.errors import AttemptFailed
from gateway.flow.ids import new_id
from gateway.flow.snapshot import CurrentCatalogue, Rescan
from gateway.flow.upkeep import Upkeep
from gateway.ports import PoolChanges, PoolStore

LOOK_EVERY_S = 1.0
AT_MOST_EVERY_S = 60.0


class Rescanner:
    """Wishes of callers in, rescans out. `pool_seen` gives the leader's view of the pool, None while not leading."""

    def __init__(
        self,
        backends: Callable[[], Sequence[Backend]],
        pool: PoolStore,
        upkeep: Upkeep,
        current: CurrentCatalogue,
        *,
        pool_seen: Callable[[], PoolChanges | None],
    ) -> None:
        self._backends = backends
        self._pool = pool
        self._upkeep = upkeep
        self._current = current
        self._pool_seen = pool_seen

    async def ask(self) -> None:
        """Wish for a rescan of the pool. Raises StoreUnavailable."""
        await self._pool.wish_rescan(new_id())

    async def run(self) -> None:
        """Fulfil wishes for ever, while this process leads. Errors of the store end it, to be started again."""
        while True:
            seen = self._pool_seen()
            if seen is None:
                self._upkeep.rescanned.clear()  # the next leader's are in its lists
            else:
                await self.fulfil(seen)
            await asyncio.sleep(LOOK_EVERY_S)

    async def fulfil(self, seen: PoolChanges) -> None:
        """Rescan every backend that is up, free and due."""
        wish = await self._pool.rescan_wish()
        async with asyncio.TaskGroup() as group:
            for backend in self._backends():
                if self._is_due(backend.name, wish, seen):
                    group.create_task(self._rescan(backend, Rescan(wish, seen.at + LOOK_EVERY_S)))

    def _is_due(self, name: str, wish: str, seen: PoolChanges) -> bool:
        last = self._last(name)
        is_free = seen.states.get(name) == BackendState.UP and name not in seen.slots
        # Wishes are compared for equality: a store that lost its data has another one, or none.
        return bool(is_free and wish and wish != last.wish and seen.at - last.at >= AT_MOST_EVERY_S)

    def _last(self, name: str) -> Rescan:
        return self._upkeep.rescanned.get(name) or self._current.rescan_of(name)

    async def _rescan(self, backend: Backend, rescan: Rescan) -> None:
        try:
            await self._upkeep.rescan(backend, rescan)
        except AttemptFailed:  # one that fails at it is not asked each second
            self._upkeep.rescanned[backend.name] = Rescan(self._last(backend.name).wish, rescan.at)
