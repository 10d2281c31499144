"""Compares what was admitted with what was recorded, while jobs come and go.

The store is read at one moment and the ledger a little later. A job of which the store said that it was open, or on its
way into the ledger, counts as that, whatever has become of it since; of the ledger only the jobs count that had entered
by then.
"""

from __future__ import annotations

from gateway.domain.reconciliation import Reconciliation, Tally, spans
from gateway.ports import LedgerCounts, Tallies


class Reconciler:
    """Reads both sides; changes nothing."""

    def __init__(self, store: Tallies, ledger: LedgerCounts) -> None:
        self._store = store
        self._ledger = ledger

    async def reconcile(self) -> Reconciliation:
        """The comparison now. Raises StoreUnavailable."""
        tally = await self._store.tally()
        since, until = tally.count.since, tally.at
        unwritten = {job: at for job, at in tally.unwritten.items() if job not in tally.open}
        elsewhere = [job for jobs in (tally.open, unwritten) for job, at in jobs.items() if since <= at <= until]
        recorded = await self._ledger.recorded(since, until) - await self._ledger.recorded_of(elsewhere)
        return Reconciliation(
            since=since,
            admitted=tally.count.admitted,
            recorded=recorded,
            unwritten=sum(since <= at <= until for at in unwritten.values()),
            open=sum(since <= at <= until for at in tally.open.values()),
            unaccounted=await self._unaccounted(tally),
        )

    async def _unaccounted(self, tally: Tally) -> int:
        """Of each earlier life of the store's data: jobs counted, less those that were recorded or live on."""
        missing = 0
        put_back = [job for jobs in (tally.open, tally.unwritten) for job, at in jobs.items() if at < tally.count.since]
        for count, end in spans(await self._ledger.counts(), tally.count):
            missing += max(0, count.admitted - await self._ledger.recorded(count.since, end))
        return max(0, missing - (len(set(put_back)) - await self._ledger.recorded_of(sorted(set(put_back)))))
