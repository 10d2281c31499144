"""Moves closed records from the outbox into the ledger. The insert is idempotent, so a repeated batch changes
nothing. How many jobs were admitted is kept beside them, so that it can be told what was lost with a store's data.

A record that can never be kept is set aside, told and counted: one must not hold up all that come after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from gateway.domain.reconciliation import Count
from gateway.domain.usage import Record
from gateway.ports import Ledger, Log, Outbox, Unreadable

BATCH = 500
IDLE_S = 0.5
WAY_OUT = "It is kept: gateway db aside shows it, gateway db aside --again tries it again once the reason is gone."


class Bookkeeper:
    """The ledger's writer; only the process that leads writes, so that one insert is made for each record."""

    def __init__(self, outbox: Outbox, ledger: Ledger, is_leading: Callable[[], bool], log: Log) -> None:
        self._outbox = outbox
        self._ledger = ledger
        self._is_leading = is_leading
        self._log = log
        self._noted: Count | None = None
        self._aside = 0

    @property
    def aside(self) -> int:
        """How many records were set aside, as this process knows while it leads."""
        return self._aside if self._is_leading() else 0

    async def run(self) -> None:
        """Write for ever. Errors of a store end it, to be started again; nothing is dropped before it is kept."""
        while True:
            if not self._is_leading() or await self.write_batch() < BATCH:
                await asyncio.sleep(IDLE_S)

    async def write_batch(self) -> int:
        """Keep the oldest records and forget them in the outbox; how many there were."""
        batch = await self._outbox.read(BATCH)
        if batch:
            refused = await self._ledger.insert([record for _, record in batch if isinstance(record, Record)])
            reasons = {token: _reason(record, refused) for token, record in batch}
            await self._outbox.drop([token for token, why in reasons.items() if not why])
            for token, record in batch:
                if reasons[token]:
                    await self._outbox.set_aside(token, reasons[token])
                    self._log.warn(
                        "record_set_aside", job_id=record.job_id, token=token, reason=reasons[token], way_out=WAY_OUT
                    )
        self._aside = await self._outbox.aside_count()
        await self._note_count()
        return len(batch)

    async def _note_count(self) -> None:
        count = await self._outbox.admitted()
        if count.admitted and count != self._noted:
            await self._ledger.note_count(count)
            self._noted = count


def _reason(record: Record | Unreadable, refused: Mapping[str, str]) -> str:
    return record.why if isinstance(record, Unreadable) else refused.get(record.job_id, "")
