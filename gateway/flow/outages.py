"""Which stores this process cannot work with now, and one line in the log when that begins and when it ends.

A store whose disk is full still reads: what failed in writing has ended only when something was written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.ports import Log


@dataclass(frozen=True, slots=True)
class Outage:
    """One store that is away, or takes no writes, since `since` by this process's steady clock, in seconds."""

    reason: str
    since: float
    is_of_writing: bool


class Outages:
    """Fulfils `ports.health.StoreHealth`."""

    def __init__(self, log: Log, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._now: dict[str, Outage] = {}

    def worked(self, store: str, *, was_write: bool) -> None:
        """It did what was asked: the outage is over, unless that was of writing and this was none."""
        outage = self._now.get(store)
        if outage is not None and (was_write or not outage.is_of_writing):
            del self._now[store]
            self._log.tell("store_back", store=store, away_s=round(self._clock() - outage.since, 1))

    def failed(self, store: str, reason: str, *, was_write: bool) -> None:
        """It did not: told when it worked before, or when the reason is another one."""
        outage = self._now.get(store)
        if outage is not None and outage.reason == reason:
            return
        since = self._clock() if outage is None else outage.since
        is_of_writing = was_write or (outage is not None and outage.is_of_writing)
        self._now[store] = Outage(reason, since, is_of_writing)
        self._log.warn("store_gone", store=store, reason=reason)

    def reason(self, store: str) -> str:
        """Why it cannot be worked with, "" when it can."""
        outage = self._now.get(store)
        return outage.reason if outage is not None else ""
