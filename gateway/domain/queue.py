"""The queue as people look at it: who waits and what keeps them; what runs where; why a job went where it went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

WAITING = "waiting"  # a job's state
MOST_NAMED = 8  # backends in one sentence; a pool of two hundred is summed up


@dataclass(frozen=True, slots=True)
class BackendLine:
    """One backend: its state, what is loaded, and the job that holds it, "" for none; `since` in epoch seconds."""

    name: str
    state: str
    loaded: str
    job_id: str = ""
    tenant_id: str = ""
    since: float = 0.0
    is_recovering: bool = False

    def obstacle_for(self, checkpoint: str) -> str:
        """What keeps a job that needs this checkpoint from starting here at once, "" for nothing."""
        if self.is_recovering:
            return "recovering"
        if self.job_id:
            return "busy"
        if self.state != "up":
            return self.state
        if checkpoint and self.loaded != checkpoint:
            return f"has {self.loaded or 'nothing'} loaded"
        return ""


@dataclass(frozen=True, slots=True)
class WaitingLine:
    """One waiting job; `position` from 1 in order of entry, `reasons` why each backend that could run it does not.

    As far as the dispatcher foretold it: `starts_in_s`, how many of its competitors start before it, and the reason.
    """

    job_id: str
    position: int
    tenant_id: str
    model: str
    entered_at: float
    waits_s: float
    reasons: Mapping[str, str]
    starts_in_s: float | None = None
    ahead: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class QueueView:
    """The whole queue at one moment, `at`."""

    at: float
    waiting: tuple[WaitingLine, ...]
    backends: tuple[BackendLine, ...]


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job as the store knows it: `state` is waiting, running or closed; `why` it was placed there, or why it waits.

    `starts_at`: when a waiting job should start, 0.0 where nobody foretold it; `ahead`: how many of those it competes
    with start before it.
    """

    job_id: str
    state: str
    tenant_id: str
    process: str
    model: str
    backend: str
    entered_at: float
    started_at: float
    why: str
    starts_at: float = 0.0
    ahead: int | None = None


def reasons_for(checkpoint: str, runnable_on: Iterable[str], backends: Mapping[str, BackendLine]) -> dict[str, str]:
    """Why a job that needs this checkpoint does not start on each of the backends that could run it."""
    reasons = {}
    for name in sorted(runnable_on):
        line = backends.get(name)
        reasons[name] = "not seen yet" if line is None else line.obstacle_for(checkpoint) or "free: next"
    return reasons


def decision(
    checkpoint: str, runnable_on: Iterable[str], chosen: str, backends: Mapping[str, BackendLine], waited_s: float
) -> str:
    """Why this job goes to `chosen`: its wait, swap or not, and what kept it from each other candidate."""
    loaded = backends[chosen].loaded if chosen in backends else ""
    swap = f"swap from {loaded or 'nothing'}" if checkpoint and loaded != checkpoint else "no swap"
    others = [backends[name] for name in sorted(runnable_on) if name != chosen and name in backends]
    named = [f"{line.name} {line.obstacle_for(checkpoint) or 'as good'}" for line in others]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    instead = f"; not {', '.join(named[:MOST_NAMED])}{more}" if named else "; no other can run it"
    return f"{chosen} after {waited_s:.1f} s, {swap}{instead}"
