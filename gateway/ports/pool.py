"""Hot state of the pool: who dispatches, who waits, what each backend does and has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gateway.domain.backends import Condition
from gateway.domain.queue import JobLine

if TYPE_CHECKING:  # a command that looks at tenants needs no scheduler
    from gateway.domain.scheduling import Forecast, Prospect


@dataclass(frozen=True, slots=True)
class SlotView:
    """Who holds a backend's slot. `is_recovering`: the holder was lost and the backend may still be at work."""

    backend: str
    job_id: str
    tenant_id: str
    since: float
    is_recovering: bool
    mark: str


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A ticket as the dispatcher reads it; `ticket` is the JSON that entered with it."""

    job_id: str
    entered_at: float
    ticket: bytes


@dataclass(frozen=True, slots=True)
class BegunJob:
    """A job that began without a decision of the dispatcher; `ended_at` is 0.0 while it runs."""

    job_id: str
    started_at: float
    ended_at: float
    ticket: bytes


@dataclass(frozen=True, slots=True)
class PoolChanges:
    """What a leader learns: with `is_all`, `arrived` is every waiting job, `began` every running one, and what it knew
    before is void.
    """

    at: float
    is_all: bool
    arrived: tuple[WaitingJob, ...]
    left: tuple[str, ...]
    slots: Mapping[str, SlotView]
    loaded: Mapping[str, str]
    states: Mapping[str, str]
    began: tuple[BegunJob, ...] = ()
    conditions: Mapping[str, Condition] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PoolNews:
    """What was found out; `quiet` maps a recovering backend to the slot's mark it may lose.

    A state comes with its condition: without one, there is nothing to say about it.
    """

    states: Mapping[str, str] = field(default_factory=dict)
    loaded: Mapping[str, str] = field(default_factory=dict)
    quiet: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    inventories: Mapping[str, bytes] = field(default_factory=dict)
    conditions: Mapping[str, Condition] = field(default_factory=dict)


class PoolStore(Protocol):
    """The pool's shared state: who dispatches, who waits, what each backend does and has."""

    async def poll(self, *, from_scratch: bool) -> PoolChanges | None:
        """Take or renew the dispatcher's lease and read what changed; None when another process holds it.

        When nobody held it, no backend counts as up until it was published again: nobody looked at them meanwhile.
        """

    async def grant(
        self, operation_id: str, grants: Sequence[tuple[str, str]], why: Mapping[str, str] | None = None
    ) -> list[str]:
        """Carry out (job, backend) decisions; a word for each: granted, gone, taken, cap. All `deposed` without
        the lease. `why` gives the reason of each by job, for its record.
        """

    async def hold(self, operation_id: str, job_id: str, backend: str, *, is_under_way: bool = False) -> bool:
        """Take a free backend's slot for upkeep; it is given back by `JobStore.leave`.

        `is_under_way`: this process has it already and tells a store that lost its data.
        """

    async def publish(self, operation_id: str, news: PoolNews) -> None:
        """Let every process know."""

    async def standings(self) -> Mapping[str, tuple[str, Condition]]:
        """Every backend's last published state, with its condition."""

    async def inventories(self) -> Mapping[str, bytes]:
        """The last published inventory of each backend, as JSON."""

    async def wish_rescan(self, wish: str) -> None:
        """Leave a wish for a rescan of the pool, in place of any earlier one; it is kept for an hour."""

    async def rescan_wish(self) -> str:
        """The last wish for a rescan, "" for none."""

    async def wait_for_work(self, timeout_s: float) -> None:
        """Return when the dispatcher has something to do, or when the time is up."""

    async def resign(self) -> None:
        """Give the dispatcher's lease up, so that another process takes it at once."""

    async def remember(self, memory: bytes) -> None:
        """Keep what the scheduler must know over a change of leader: accounts, learned speeds, as JSON."""

    async def foretell(self, forecast: Forecast) -> bool:
        """Publish the forecast for some seconds, in place of the one before; False without the lease."""

    async def memory(self) -> bytes:
        """What was kept last, empty if nothing was."""


class QueueReader(Protocol):
    """The queue for people's eyes."""

    async def queue(self) -> tuple[PoolChanges, Mapping[str, Prospect]]:
        """Every waiting job in order of entry, and the whole pool; and what was foretold of each job, by id."""

    async def prospect(self, job_id: str) -> Prospect | None:
        """What was foretold of a waiting job."""

    async def job(self, job_id: str) -> JobLine | None:
        """One job, open or closed within the last hour; None if the store does not know it."""
