"""One decision: which waiting job gets which free backend next, or none. The rules' text is in `scheduler`.

Pure over the four things it looks at (waiting room, pool, accounts, speeds); it changes none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.domain.scheduling.accounts import Accounts
from gateway.domain.scheduling.demand import AskedFor
from gateway.domain.scheduling.past import Past
from gateway.domain.scheduling.pool import Pool
from gateway.domain.scheduling.values import Grant, Policy, Rule
from gateway.domain.scheduling.waiting import Group, Lane, WaitingRoom
from gateway.domain.speeds import Speeds

_SLOWER = 1.25
_WORTH_WAITING_S = 0.1  # from a backend's end to its next job's start; what gains less is not worth leaving one idle


@dataclass(frozen=True, slots=True)
class State:
    """All a decision looks at."""

    room: WaitingRoom
    pool: Pool
    accounts: Accounts
    batch_accounts: Accounts
    speeds: Speeds
    asked_for: AskedFor
    past: Past
    policy: Policy


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Jobs that wait for a checkpoint to be loaded: how much it is wanted, when the first is overdue, copies it has."""

    checkpoint: str
    groups: tuple[Group, ...]
    want: float
    due_at: float
    copies: int


class Decision:
    """The view of one instant: the tenants' standing is computed once, then `grant` picks."""

    def __init__(self, state: State, now: float) -> None:
        self._state, self._now = state, now
        self._policy = state.policy
        self._standing = _standing(state)
        self._others = max(1, state.accounts.active - 1)
        # A tenant that holds several backends at once gets ahead and behind by several jobs at once.
        self._slack_s = state.policy.slack_s * max(1.0, state.pool.usable / max(1, state.accounts.active))
        self._shares_of = self._shares()
        self._floods = self._flooding()
        self._competing_now: frozenset[str] | None = None

    def grant(self) -> Grant | None:
        """The next grant by the rules, or None when nothing should start now."""
        free = self._state.pool.free()
        ready: list[tuple[str, list[Lane]]] = []
        idle: list[str] = []
        for name in free:  # (1), (2)
            lanes = self._lanes_here(name) if self._standing else []
            if lanes:
                ready.append((name, lanes))
            else:
                idle.append(name)
        if self._standing:
            if idle and (grant := self._swap(idle)) is not None:
                return grant
            if ready:
                return self._instead(*ready[0]) or self._local(*ready[0])
        return self._batch(idle)

    # --- who may go, and how much it counts ---------------------------------------------------------

    def _shares(self) -> dict[str, float]:
        """(3) How much each tenant's jobs count: the less the further it is ahead or the more it has waiting.

        1.0 for whoever is hindered least, so that a tenant alone is not held back from what nobody else wants.
        """
        slack_s, weight = self._slack_s, self._policy.backlog_weight
        demand = self._state.room.tenants
        shares = {t: slack_s / max(slack_s, s, weight * demand[t].cost_s) for t, s in self._standing.items()}
        most = max(shares.values(), default=1.0)
        return {tenant: share / most for tenant, share in shares.items()}

    def _flooding(self) -> frozenset[str]:
        """(3) Who has more waiting than the slack and than several times the average of all who wait."""
        tenants = self._state.room.tenants
        average_s = sum(demand.cost_s for demand in tenants.values()) / max(1, len(tenants))
        most_s = max(self._slack_s, self._policy.flood_times * average_s)
        return frozenset(tenant for tenant, demand in tenants.items() if demand.cost_s > most_s)

    def _first(self, lane: Lane) -> tuple[float, str]:
        """(4) The lane's next job: short before long, but of a flood the old ones: its short jobs never end."""
        policy = self._policy
        return lane.first(self._now, policy.flood_ageing_s if lane.tenant in self._floods else policy.ageing_s)

    def _share(self, tenant: str) -> float:
        """The tenant's share; 0.0 when it is at its cap (2)."""
        return self._shares_of.get(tenant, 0.0)

    def _eligible(self, groups: Iterable[Group], backend: str) -> list[Lane]:
        return [
            lane
            for group in groups
            if not group.is_batch and backend in group.runnable_on
            for lane in group.lanes.values()
            if lane.tenant in self._standing
        ]

    def _lanes_here(self, backend: str) -> list[Lane]:
        """The lanes this free backend could serve without a swap, none if a faster copy will be done sooner (7)."""
        room, loaded = self._state.room, self._state.pool.views[backend].loaded
        lanes = self._eligible(room.groups_for(""), backend)
        for group in room.groups_for(loaded) if loaded else ():
            here = self._eligible([group], backend)
            if here and not self._faster_copy_is_sooner(backend, group, here):
                lanes += here
        return lanes

    def _faster_copy_is_sooner(self, backend: str, group: Group, lanes: Sequence[Lane]) -> bool:
        pool, generation = self._state.pool, self._state.speeds.generation
        level, checkpoint = generation.level(backend), group.checkpoint
        faster = [n for n in self._copies_for(group) if generation.level(n) * _SLOWER < level]
        if not faster:
            return False
        typical = generation.typical(checkpoint)
        backlog = sum(lane.cost_s for lane in lanes) / typical  # in megapixel-steps, whatever the backend
        capacity = sum(1 / generation.rate(n, checkpoint) for n in faster)
        running_s = sum(pool.remaining_s(n, self._now) for n in faster) / len(faster)
        shortest = min(lane.shortest_s for lane in lanes) / typical
        return shortest * generation.rate(backend, checkpoint) > running_s + backlog / capacity + _WORTH_WAITING_S

    def _copies_for(self, group: Group) -> list[str]:
        """Usable backends that have the group's checkpoint and all else its jobs require."""
        return [name for name in self._state.pool.copies(group.checkpoint) if name in group.runnable_on]

    # --- without a swap -----------------------------------------------------------------------------

    def _local(self, backend: str, lanes: Sequence[Lane]) -> Grant:
        """In credit first, of those who has little waiting (3); the overdue by age (6), then short before long (4)."""
        limit_s = self._limit_s(lanes)
        in_credit = [lane for lane in lanes if self._standing[lane.tenant] <= limit_s]
        overdue = [lane for lane in in_credit if lane.due_at <= self._now]
        if overdue:
            oldest = min(overdue, key=lambda lane: lane.due_at)
            return Grant(oldest.by_age[0][1], backend, rule=Rule.OVERDUE)
        tenants = self._state.room.tenants
        modest = [lane for lane in in_credit if tenants[lane.tenant].cost_s <= self._slack_s]
        _, job_id = min(self._first(lane) for lane in modest or in_credit)
        return Grant(job_id, backend)

    def _limit_s(self, lanes: Sequence[Lane]) -> float:
        """(3) How far above its share a tenant may be to go first here.

        The slack above the level, or above the least served here if that is more. Above one that has more waiting than
        the slack, and so would never catch up, about a job for each other tenant: two who never stop share exactly.
        """
        room, slack_s = self._state.room, self._slack_s
        tight_s = self._policy.tight_jobs * room.mean_cost_s * self._others
        limit_s = max(0.0, min(self._standing[lane.tenant] for lane in lanes)) + slack_s
        for lane in lanes:
            if room.tenants[lane.tenant].cost_s > slack_s:
                limit_s = min(limit_s, self._standing[lane.tenant] + tight_s)
        return limit_s

    # --- with a swap --------------------------------------------------------------------------------

    def _wanted(self, *, loads_only: bool) -> list[_Wanted]:
        """Checkpoints worth a load somewhere, most wanted first; with `loads_only` those that are loaded nowhere."""
        found: list[_Wanted] = []
        for checkpoint, groups in self._state.room.checkpoints():
            served: list[Group] = []
            away: list[Group] = []
            for group in groups if checkpoint else ():
                if not group.is_batch:
                    (served if self._copies_for(group) else away).append(group)
            if away:
                found.append(self._wanting(checkpoint, away, 0))
            if served and not loads_only:
                copies = sorted({name for group in served for name in self._copies_for(group)})
                if self._copy_is_due(checkpoint, served, copies):
                    found.append(self._wanting(checkpoint, served, len(copies)))
        found.sort(key=lambda w: (w.due_at if w.due_at <= self._now else self._now, -w.want, w.checkpoint))
        return found

    def _wanting(self, checkpoint: str, groups: Sequence[Group], copies: int) -> _Wanted:
        want, due_at = self._want(groups)
        return _Wanted(checkpoint, tuple(groups), want / (copies + 1) ** self._policy.copy_exponent, due_at, copies)

    def _want(self, groups: Iterable[Group]) -> tuple[float, float]:
        """Summed ages of the jobs, each by its tenant's share; and when the first of a tenant in credit is overdue."""
        want, due_at = 0.0, float("inf")
        for lane in (lane for group in groups for lane in group.lanes.values()):
            share = self._share(lane.tenant)
            if share > 0:
                want += share * lane.age_s(self._now, self._policy.head_start_s)
                if self._standing[lane.tenant] <= self._slack_s:
                    due_at = min(due_at, lane.due_at)
        return want, due_at

    def _copy_is_due(self, checkpoint: str, groups: Iterable[Group], copies: Sequence[str]) -> bool:
        """(5) The backlog per copy exceeds several swaps, and no more loads are under way than copies stand."""
        state = self._state
        generation = state.speeds.generation
        loading = sum(1 for name in copies if state.pool.is_loading(name, self._now))
        if loading and loading >= len(copies) - loading:
            return False
        typical = generation.typical(checkpoint)
        capacity = sum(typical / generation.rate(name, checkpoint) for name in copies)
        backlog_s = sum(self._share(lane.tenant) * lane.cost_s for group in groups for lane in group.lanes.values())
        return backlog_s / capacity > self._policy.copy_backlog_swaps * state.speeds.swap.typical(checkpoint)

    def _swap(self, idle: Sequence[str]) -> Grant | None:
        """(5) The most wanted checkpoint goes where least is lost; overdue ones whatever is lost (6)."""
        losses = {name: self._loss(name) for name in idle}
        for item in self._wanted(loads_only=False):
            able = [n for n in idle if self._may_load(n, item)]
            if not able:
                continue
            backend = min(able, key=losses.__getitem__)  # the first of equals is the fastest
            is_overdue = item.due_at <= self._now
            if is_overdue or item.want >= losses[backend] or self._has_been_alone(item, backend):
                rule = Rule.OVERDUE if is_overdue else Rule.COPY if item.copies else Rule.SWAP
                grant = self._load(backend, item, rule)
                if grant is not None:
                    return grant
        return None

    def _has_been_alone(self, item: _Wanted, backend: str) -> bool:
        """(5) Whether nothing else waits, or the whole pool is idle, and nobody has come for the evicted checkpoint in
        the time in which one was likely to: then nothing is gained by leaving the backend idle.
        """
        state = self._state
        if not state.pool.is_idle and not self._competing() <= {"", item.checkpoint}:
            return False
        rate = state.asked_for.rate(state.pool.views[backend].loaded, self._now)
        oldest_at = min(lane.by_age[0][0] for group in item.groups for lane in group.lanes.values())
        return (self._now - oldest_at) * max(rate, 1 / self._policy.alone_s) >= 1.0

    def _competing(self) -> frozenset[str]:
        """The checkpoints of waiting jobs that could run somewhere now or when a backend is free."""
        if self._competing_now is None:
            views = self._state.pool.views
            usable = frozenset(name for name, view in views.items() if view.usable)
            self._competing_now = frozenset(
                group.checkpoint
                for group in self._state.room.groups()
                if not group.is_batch
                and not usable.isdisjoint(group.runnable_on)
                and any(lane.tenant in self._standing for lane in group.lanes.values())
            )
        return self._competing_now

    def _may_load(self, backend: str, item: _Wanted) -> bool:
        if self._state.pool.views[backend].loaded == item.checkpoint:
            return False
        return any(backend in group.runnable_on for group in item.groups)

    def _loss(self, backend: str) -> float:
        """What evicting its checkpoint costs those who will ask for it, in the unit of want."""
        checkpoint = self._state.pool.views[backend].loaded
        if not checkpoint:
            return 0.0
        regret_s = self._policy.regret_swaps * self._state.speeds.swap.rate(backend, checkpoint)
        return regret_s * self._state.asked_for.rate(checkpoint, self._now) / self._copies_like(backend)

    def _copies_like(self, backend: str) -> int:
        """How many backends have the checkpoint that this one has, itself among them; 1 when it has none."""
        return max(1, len(self._state.pool.copies(self._state.pool.views[backend].loaded)))

    def _load(self, backend: str, item: _Wanted, rule: Rule) -> Grant | None:
        lanes = self._eligible(item.groups, backend)
        if not lanes:
            return None
        return Grant(self._local(backend, lanes).job_id, backend, swaps=True, rule=rule)

    # --- a swap although there is work without one --------------------------------------------------

    def _instead(self, backend: str, lanes: Sequence[Lane]) -> Grant | None:
        """A checkpoint loaded nowhere that goes before the work at hand: by fairness, by age or by weight."""
        if (behind := self._behind(backend, lanes)) is not None:
            return behind
        sharers = self._sharers(backend, lanes)
        stayed = self._state.pool.swap_times_stayed(backend, self._now) * sharers
        if stayed < self._policy.residence_swaps * max(self._share(lane.tenant) for lane in lanes):
            return None
        here = sum(self._share(lane.tenant) * lane.age_s(self._now, self._policy.head_start_s) for lane in lanes)
        due_here = min(lane.due_at for lane in lanes)
        for item in self._wanted(loads_only=True):
            is_overdue = item.due_at <= self._now and item.due_at < due_here  # (6)
            if is_overdue or item.want > self._policy.outweigh * here / sharers:  # (5)
                rule = Rule.OVERDUE if is_overdue else Rule.OUTWEIGHS
                grant = self._load(backend, item, rule)
                if grant is not None:
                    return grant
        return None

    def _sharers(self, backend: str, lanes: Sequence[Lane]) -> int:
        """(5) How many copies share what would be left behind here, if only floods' jobs would be; else 1."""
        if any(lane.tenant not in self._floods for lane in lanes):
            return 1
        return self._copies_like(backend)

    def _behind(self, backend: str, lanes: Sequence[Lane]) -> Grant | None:
        """(3) The tenant served least, if it is so far behind those here that its share would be lost to locality."""
        state = self._state
        ahead_s = min(self._standing[lane.tenant] for lane in lanes)
        limit_s = (self._policy.behind_swaps * state.speeds.swap.level(backend) + state.room.mean_cost_s) * self._others
        enough_s = max(limit_s, self._slack_s)
        behind = {
            tenant
            for tenant, standing_s in self._standing.items()
            if ahead_s - standing_s > limit_s and state.room.tenants[tenant].cost_s > enough_s
        }
        if not behind:
            return None
        loaded = state.pool.views[backend].loaded
        best: tuple[float, Lane] | None = None
        for checkpoint, groups in state.room.checkpoints():
            if checkpoint and checkpoint != loaded:
                for lane in self._eligible(groups, backend):
                    key = self._standing[lane.tenant] - lane.cost_s
                    if lane.tenant in behind and (best is None or key < best[0]):
                        best = key, lane
        if best is None:
            return None
        _, job_id = self._first(best[1])
        return Grant(job_id, backend, swaps=True, rule=Rule.FAIR_SHARE)

    # --- batch --------------------------------------------------------------------------------------

    def _batch(self, idle: Sequence[str]) -> Grant | None:
        """(8) On what is left idle, jobs of the batch class whose checkpoint is loaded there, least served first."""
        state = self._state
        for backend in idle:
            loaded = state.pool.views[backend].loaded
            lanes = [
                lane
                for group in [*state.room.groups_for(loaded), *(state.room.groups_for("") if loaded else [])]
                if group.is_batch and backend in group.runnable_on
                for lane in group.lanes.values()
                if self._batch_cap_allows(lane)
            ]
            if lanes:
                lane = min(lanes, key=lambda ln: (state.batch_accounts.above_level(ln.tenant), ln.by_age[0]))
                return Grant(lane.by_age[0][1], backend, rule=Rule.BATCH)
        return None

    def _batch_cap_allows(self, lane: Lane) -> bool:
        ticket = self._state.room.ticket(lane.by_age[0][1])
        return ticket is not None and self._state.pool.running_of(lane.tenant) < ticket.tenant_cap


def _standing(state: State) -> dict[str, float]:
    """GPU-seconds above its share, of every tenant that waits and is below its cap (2)."""
    pool, accounts = state.pool, state.accounts
    return {
        tenant: accounts.above_level(tenant) * demand.weight
        for tenant, demand in state.room.tenants.items()
        if pool.running_of(tenant) < demand.cap
    }
