"""Forgetting old records and audit entries, when their operator says so; never by itself.

What quotas are counted from stays: a hot store that lost its data counts this month's usage from the ledger anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.domain.errors import InvalidRequest
from gateway.domain.limits import MICROSECONDS, window_of
from gateway.domain.managed import AuditEntry
from gateway.domain.reports import DAY_S
from gateway.domain.usage import Window
from gateway.flow.changes import Author
from gateway.ports import Bookkeeper, Prunable

AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many ledger records and audit entries."""

    records: int
    entries: int


class Pruner:
    """Prunes one database. Its methods raise InvalidRequest for a date that is too late, and StoreUnavailable."""

    def __init__(self, books: Prunable, bookkeeper: Bookkeeper) -> None:
        self._books = books
        self._bookkeeper = bookkeeper

    async def would_prune(self, now: float, before: float) -> Pruned:
        """What is older; nothing is deleted."""
        check(now, before)
        return Pruned(await self._books.old_records(before), await self._books.old_entries(before))

    async def prune(self, author: Author, before: float, *, records: bool = True, entries: bool = True) -> Pruned:
        """Delete what is older, and note who did. Ended half way, what is deleted is deleted: repeat it."""
        check(author.now, before)
        pruned = Pruned(
            await _in_parts(self._books.forget_records, before) if records else 0,
            await _in_parts(self._books.forget_entries, before) if entries else 0,
        )
        detail = {"records": pruned.records, "entries": pruned.entries}
        async with self._bookkeeper.writing() as books:
            await books.note(AuditEntry(author.now, author.who, "prune", "database", f"before {_date(before)}", detail))
        return pruned


def check(now: float, before: float) -> None:
    """Refuse a date after the first of this month (UTC)."""
    first = window_of(Window.MONTH, int(now * MICROSECONDS))[0] * DAY_S
    if before > first:
        raise InvalidRequest(
            f"Quotas of this month are counted from the ledger; the latest date that can be given is {_date(first)}.",
            field="before",
        )


async def _in_parts(forget: Callable[[float, int], Awaitable[int]], before: float) -> int:
    forgotten = 0
    while part := await forget(before, AT_ONCE):
        forgotten += part
    return forgotten


def _date(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%MZ").replace("T00:00Z", "")
