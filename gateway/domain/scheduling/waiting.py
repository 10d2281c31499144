"""The waiting room: jobs in groups that need the same checkpoint and the same backends, by tenant inside a group.

Everything a decision asks of it costs the number of groups and lanes, never jobs x backends. Mutable, owned by one
scheduler; knows nothing of backends, fairness or speeds.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from gateway.domain.scheduling.values import Ticket

GroupKey = tuple[str, frozenset[str], bool]
_SMOOTHING = 0.05


class Lane:
    """One tenant's waiting jobs of one group and one age bound: by size and by age, with their sums.

    A job of size n is thought to take n x `unit_s` seconds: where a speed was learned, only the unit changes.
    """

    __slots__ = ("age_bound_s", "arrivals_s", "by_age", "by_size", "size", "tenant", "unit_s")

    def __init__(self, tenant: str, age_bound_s: float, unit_s: float = 1.0) -> None:
        self.tenant, self.age_bound_s, self.unit_s = tenant, age_bound_s, unit_s
        self.by_size: list[tuple[float, float, str]] = []
        self.by_age: list[tuple[float, str]] = []
        self.size = 0.0
        self.arrivals_s = 0.0

    def copy(self) -> Lane:
        """The same jobs, to change on their own."""
        lane = Lane(self.tenant, self.age_bound_s, self.unit_s)
        lane.by_size, lane.by_age = self.by_size.copy(), self.by_age.copy()
        lane.size, lane.arrivals_s = self.size, self.arrivals_s
        return lane

    def add(self, ticket: Ticket, size: float) -> None:
        """Take the job in."""
        bisect.insort(self.by_size, (size, ticket.arrived_at, ticket.job_id))
        bisect.insort(self.by_age, (ticket.arrived_at, ticket.job_id))
        self.size += size
        self.arrivals_s += ticket.arrived_at

    def remove(self, ticket: Ticket, size: float) -> None:
        """Let the job go; it must be here with this size."""
        del self.by_size[bisect.bisect_left(self.by_size, (size, ticket.arrived_at, ticket.job_id))]
        del self.by_age[bisect.bisect_left(self.by_age, (ticket.arrived_at, ticket.job_id))]
        self.size -= size
        self.arrivals_s -= ticket.arrived_at

    @property
    def cost_s(self) -> float:
        """Seconds all its jobs together should take."""
        return self.size * self.unit_s

    @property
    def shortest_s(self) -> float:
        """Seconds its shortest job should take; the lane must not be empty."""
        return self.by_size[0][0] * self.unit_s

    @property
    def due_at(self) -> float:
        """When its oldest job reaches the age bound; the lane must not be empty."""
        return self.by_age[0][0] + self.age_bound_s

    def age_s(self, now: float, head_start_s: float) -> float:
        """The summed ages of its jobs, each `head_start_s` older than it is."""
        return len(self.by_size) * (now + head_start_s) - self.arrivals_s

    def first(self, now: float, ageing_s: float) -> tuple[float, str]:
        """(rank, job) of the job with the smallest cost / (ageing_s + age); the lane must not be empty."""
        most_s = ageing_s + max(0.0, now - self.by_age[0][0])
        best, chosen = float("inf"), ""
        for size, arrived_at, job_id in self.by_size:
            if size / most_s >= best:
                break  # all that follow are as large or larger, and none is older than the oldest
            rank = size / (ageing_s + max(0.0, now - arrived_at))
            if rank < best:
                best, chosen = rank, job_id
        return best * self.unit_s, chosen


class Group:
    """Waiting jobs that any of the same backends can run with the same checkpoint."""

    __slots__ = ("checkpoint", "is_batch", "lanes", "runnable_on")

    def __init__(self, key: GroupKey) -> None:
        self.checkpoint, self.runnable_on, self.is_batch = key
        self.lanes: dict[tuple[str, float], Lane] = {}

    def copy(self) -> Group:
        """The same jobs, to change on their own."""
        group = Group((self.checkpoint, self.runnable_on, self.is_batch))
        group.lanes = {key: lane.copy() for key, lane in self.lanes.items()}
        return group


@dataclass(slots=True)
class Demand:
    """What one tenant has waiting, batch jobs not counted; cap and weight are those of its latest job."""

    cap: int
    weight: float
    jobs: int = 0
    cost_s: float = 0.0


class WaitingRoom:
    """All waiting jobs with what they cost: seconds on a typical backend of the pool."""

    def __init__(self) -> None:
        self._tickets: dict[str, tuple[Ticket, float]] = {}  # with its size in the lane
        self._units_s: dict[str, float] = {}
        self._groups: dict[GroupKey, Group] = {}
        self._by_checkpoint: dict[str, list[Group]] = {}
        self.tenants: dict[str, Demand] = {}
        self.mean_cost_s = 0.0

    def __len__(self) -> int:
        return len(self._tickets)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._tickets

    def __iter__(self) -> Iterator[Ticket]:
        return (ticket for ticket, _ in self._tickets.values())

    def copy(self) -> WaitingRoom:
        """A room with the same jobs that can change on its own."""
        room = WaitingRoom()
        room._tickets, room._units_s = self._tickets.copy(), self._units_s.copy()
        room._groups = {key: group.copy() for key, group in self._groups.items()}
        for checkpoint, groups in self._by_checkpoint.items():
            keys = ((group.checkpoint, group.runnable_on, group.is_batch) for group in groups)
            room._by_checkpoint[checkpoint] = [room._groups[key] for key in keys]
        room.tenants = {tenant: replace(demand) for tenant, demand in self.tenants.items()}
        room.mean_cost_s = self.mean_cost_s
        return room

    def cost_anew(self, checkpoint: str, times: float) -> None:
        """All that waits for the checkpoint takes so many times as long as was thought; costs lanes, not jobs."""
        if checkpoint not in self._by_checkpoint:
            return
        self._units_s[checkpoint] = self._units_s.get(checkpoint, 1.0) * times
        for group in self._by_checkpoint[checkpoint]:
            for lane in group.lanes.values():
                before_s = lane.cost_s
                lane.unit_s = self._units_s[checkpoint]
                if not group.is_batch:
                    self.tenants[lane.tenant].cost_s += lane.cost_s - before_s

    def ticket(self, job_id: str) -> Ticket | None:
        """The waiting job of that id."""
        found = self._tickets.get(job_id)
        return found[0] if found else None

    def cost_s(self, job_id: str) -> float:
        """Seconds the job should take; KeyError when it does not wait."""
        ticket, size = self._tickets[job_id]
        return size * self._units_s.get(ticket.checkpoint, 1.0)

    def groups(self) -> Iterable[Group]:
        """Every group that has a job."""
        return self._groups.values()

    def groups_for(self, checkpoint: str) -> list[Group]:
        """The groups that need exactly this checkpoint ("": those that take any)."""
        return self._by_checkpoint.get(checkpoint, [])

    def checkpoints(self) -> Iterable[tuple[str, list[Group]]]:
        """The groups by checkpoint."""
        return self._by_checkpoint.items()

    def add(self, ticket: Ticket, cost_s: float) -> None:
        """Take a job in that does not wait yet."""
        key = (ticket.checkpoint, ticket.runnable_on, ticket.is_batch)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key)
            self._by_checkpoint.setdefault(ticket.checkpoint, []).append(group)
        lane_key = (ticket.tenant, ticket.age_bound_s)
        lane = group.lanes.get(lane_key)
        if lane is None:
            lane = group.lanes[lane_key] = Lane(*lane_key, self._units_s.get(ticket.checkpoint, 1.0))
        size = cost_s / lane.unit_s
        lane.add(ticket, size)
        self._tickets[ticket.job_id] = (ticket, size)
        self.mean_cost_s += _SMOOTHING * (cost_s - self.mean_cost_s) if self.mean_cost_s else cost_s
        if not ticket.is_batch:
            self._count(ticket, 1, cost_s)

    def pop(self, job_id: str) -> Ticket | None:
        """Let a job go; None when it does not wait."""
        found = self._tickets.pop(job_id, None)
        if found is None:
            return None
        ticket, size = found
        cost_s = size * self._units_s.get(ticket.checkpoint, 1.0)
        group = self._groups[ticket.checkpoint, ticket.runnable_on, ticket.is_batch]
        lane_key = (ticket.tenant, ticket.age_bound_s)
        group.lanes[lane_key].remove(ticket, size)
        if not group.lanes[lane_key].by_size:
            del group.lanes[lane_key]
        if not group.lanes:
            self._close(group)
        if not ticket.is_batch:
            self._count(ticket, -1, -cost_s)
        return ticket

    def _count(self, ticket: Ticket, jobs: int, cost_s: float) -> None:
        demand = self.tenants.get(ticket.tenant)
        if demand is None:
            demand = self.tenants[ticket.tenant] = Demand(ticket.tenant_cap, ticket.tenant_weight)
        if jobs > 0:
            demand.cap, demand.weight = ticket.tenant_cap, ticket.tenant_weight
        demand.jobs += jobs
        demand.cost_s += cost_s
        if demand.jobs == 0:
            del self.tenants[ticket.tenant]

    def _close(self, group: Group) -> None:
        del self._groups[group.checkpoint, group.runnable_on, group.is_batch]
        same = self._by_checkpoint[group.checkpoint]
        same.remove(group)
        if not same:
            del self._by_checkpoint[group.checkpoint]
            self._units_s.pop(group.checkpoint, None)
