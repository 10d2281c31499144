"""What arrived lately, kept so that it can be played again: the best guess at who arrives next. Pure and mutable.

The past is taken for a wheel: a future begins at some moment of it and goes on from its end at its beginning. So
tenants, checkpoints, sizes, floods and lulls come in the mixture and the order in which they really come together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from gateway.domain.scheduling.values import Ticket

MOST_JOBS = 1500
LONGEST_S = 3600.0
SHORTEST_S = 300.0
"""A past shorter than this is taken for one that began with silence: 50 first calls are no rate of 50 a second."""
EXPECTED = "expected "
"""What the ids of jobs that are only expected begin with."""


class Past:
    """The latest arrivals, oldest first."""

    def __init__(self) -> None:
        self._seen: deque[Ticket] = deque(maxlen=MOST_JOBS)

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, ticket: Ticket) -> None:
        """One more arrival; one that is older than the newest was counted when it first came."""
        if not self._seen or ticket.arrived_at >= self._seen[-1].arrived_at:
            self._seen.append(ticket)
        while self._seen[0].arrived_at < ticket.arrived_at - LONGEST_S:
            self._seen.popleft()

    def latest_of_each(self, most: int) -> list[Ticket]:
        """The latest arrival for each checkpoint, those of the checkpoints asked for last, at most so many."""
        found: dict[str, Ticket] = {}
        for ticket in reversed(self._seen):
            if ticket.checkpoint and len(found) < most:
                found.setdefault(ticket.checkpoint, ticket)
        return list(found.values())

    def copy(self) -> Past:
        """The same past, to change on its own."""
        past = Past()
        past._seen = self._seen.copy()
        return past

    def again(self, share: float, now: float, horizon_s: float) -> Iterator[Ticket]:
        """What arrives from `now` to `now + horizon_s`, in order, if all goes on as it went from this share of the past
        on; `share` is from 0.0 (its beginning) to 1.0. Nothing when nothing ever arrived.
        """
        if not self._seen:
            return
        begun_at = min(self._seen[0].arrived_at, now - SHORTEST_S)
        span_s = now - begun_at
        offset_s = share * span_s
        number, turn_s = 0, -offset_s
        while turn_s < horizon_s:
            for ticket in self._seen:
                at_s = ticket.arrived_at - begun_at + turn_s
                if at_s >= horizon_s:
                    return
                if at_s >= 0.0:
                    number += 1
                    yield replace(ticket, job_id=f"{EXPECTED}{number}", arrived_at=now + at_s)
            turn_s += span_s
