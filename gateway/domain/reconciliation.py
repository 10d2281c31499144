"""Does every admitted job have its record? What was counted at the door against what stands in the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Count:
    """How many jobs were admitted since `since` (seconds since the epoch), by one life of the store's data."""

    since: float
    admitted: int


@dataclass(frozen=True, slots=True)
class Tally:
    """The store at one moment, `at`. `open` and `unwritten` map jobs to when they entered; a record that is
    `unwritten` waits for the ledger, or has just come there.
    """

    at: float
    count: Count
    open: Mapping[str, float]
    unwritten: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Admitted jobs against records. `difference` is what is missing, negative for records of jobs nobody admitted.

    `unaccounted`: jobs that were admitted before the store lost its data, by processes that died with it: they have no
    record and will get none. They are no part of the difference.
    """

    since: float
    admitted: int
    recorded: int
    unwritten: int
    open: int
    unaccounted: int

    @property
    def difference(self) -> int:
        """Jobs without a record; 0 when the ledger adds up."""
        return self.admitted - self.recorded - self.unwritten - self.open


def spans(counts: Sequence[Count], now: Count) -> list[tuple[Count, float]]:
    """Each earlier count with the time at which the next one began, the oldest first."""
    earlier = sorted((count for count in counts if count.since < now.since), key=lambda count: count.since)
    begins = [*(count.since for count in earlier), now.since]
    return list(zip(earlier, begins[1:], strict=True))
