"""Moves closed records from the outbox into the ledger. The insert is idempotent, so a repeated batch changes
nothing. How many jobs were admitted is kept beside them, so that it can be told what was lost with a store's data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.domain.reconciliation import Count
from gateway.ports import Ledger, Outbox

BATCH = 500
IDLE_S = 0.5


class Bookkeeper:
    """The ledger's writer; only the process that leads writes, so that one insert is made for each record."""

    def __init__(self, outbox: Outbox, ledger: Ledger, is_leading: Callable[[], bool]) -> None:
        self._outbox = outbox
        self._ledger = ledger
        self._is_leading = is_leading
        self._noted: Count | None = None

    async def run(self) -> None:
        """Write for ever. Errors of a store end it, to be started again; nothing is dropped before it is kept."""
        while True:
            if not self._is_leading() or await self.write_batch() < BATCH:
                await asyncio.sleep(IDLE_S)

    async def write_batch(self) -> int:
        """Keep the oldest records and forget them in the outbox; how many there were."""
        batch = await self._outbox.read(BATCH)
        if batch:
            await self._ledger.insert([record for _, record in batch])
            await self._outbox.drop([token for token, _ in batch])
        await self._note_count()
        return len(batch)

    async def _note_count(self) -> None:
        count = await self._outbox.admitted()
        if count.admitted and count != self._noted:
            await self._ledger.note_count(count)
            self._noted = count
