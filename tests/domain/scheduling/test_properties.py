"""What holds of every history, whatever the numbers of the policy are. `pytest -v` on this file lists the promises.

P1 nothing is granted twice, and everything that can run does · P2 no backend above its one slot · P3 work is conserved
unless a swap is not worth it or a faster copy will be done sooner · P4 nobody starves beyond the stated bound · P5 no
tenant above its cap · P6 a draining backend begins nothing · P7 a batch job takes nothing from anybody: no swap, and
only where no other job could run · P8 a job runs only where all that it requires is · P9 a lone job on an idle pool
starts within two seconds
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.scheduling import Grant, Policy, Rule, Running, Ticket
from tests.domain.scheduling.builders import SWAP_S, Play, a_backend, a_job, a_scheduler

CAPS = {"x": 1, "y": 2, "z": 1_000_000}
BACKENDS = ("b1", "b2", "b3")
BOUND_S = 10.0
RESIDENCE_S = Policy().residence_swaps * SWAP_S
LONGEST_S = 150.0 * 0.25 + SWAP_S

JOBS = st.lists(
    st.fixed_dictionaries(
        {
            "gap_s": st.sampled_from([0.0, 0.5, 3.0, 20.0]),
            "tenant": st.sampled_from("xyz"),
            "checkpoint": st.sampled_from(["A", "B", "C", ""]),
            "on": st.sampled_from(["b1 b2 b3", "b1", "b2 b3"]),
            "work": st.sampled_from([2.0, 20.0, 150.0]),
            "is_batch": st.sampled_from([False, False, False, True]),
            "drains": st.sampled_from(["", "", "", *BACKENDS]),
        }
    ),
    max_size=40,
)
histories = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass
class Watched(Play):
    """A play that remembers what each grant met: the time, the grant, what was loaded since when, who waited."""

    seen: list[tuple[float, Grant, str, float, dict[str, Ticket]]] = field(default_factory=list)
    draining: set[str] = field(default_factory=set)
    _since: dict[str, float] = field(default_factory=dict)
    _waiting: dict[str, Ticket] = field(default_factory=dict)

    def arrive(self, *tickets: Ticket) -> None:
        self._waiting.update({ticket.job_id: ticket for ticket in tickets})
        super().arrive(*tickets)

    def carry_out(self, grants) -> None:
        for grant in grants:
            assert grant.backend not in self.draining, "P6: began on a draining backend"
            ticket = self._waiting.pop(grant.job_id)
            since = self._since.get(grant.backend, -1e9)
            self.seen.append((self.now, grant, self.loaded[grant.backend], since, dict(self._waiting)))
            super().carry_out([grant])  # P1, P2, P8 and that swaps are told are asserted there
            if grant.swaps:
                self._since[grant.backend] = self.now
            assert not (ticket.is_batch and grant.swaps), "P7: a batch job caused a swap"
        if any(True for _ in self.scheduler.waiting):
            assert_nothing_idles_without_a_reason(self)

    def drain(self, name: str, *, usable: bool) -> None:
        (self.draining.discard if usable else self.draining.add)(name)
        self.carry_out(
            self.scheduler.backend_changed([replace(self.scheduler.backends[name], usable=usable)], self.now)
        )


def assert_nothing_idles_without_a_reason(play: Play) -> None:
    """P3: a free backend with a waiting job of its own checkpoint is left only for a cap or a faster copy."""
    scheduler = play.scheduler
    for ticket in scheduler.waiting:
        if scheduler.state.pool.running_of(ticket.tenant) >= ticket.tenant_cap:
            continue
        for name in ticket.runnable_on & scheduler.backends.keys():
            view = scheduler.backends[name]
            # A batch job needs its checkpoint; so does an upscale of that class, of which any will do.
            if view.is_free and ticket.checkpoint in ("", view.loaded):
                level = scheduler.speeds.generation.level
                copies = scheduler.state.pool.copies(ticket.checkpoint)
                assert any(level(copy) * 1.25 < level(name) for copy in copies), (ticket, view)


def played(jobs, **fixed) -> Watched:
    play = Watched(a_scheduler(*(a_backend(name) for name in BACKENDS)))
    for number, job in enumerate(job | fixed for job in jobs):
        moment = play.now + job["gap_s"]
        play.until(moment)
        play.now = moment
        if job["drains"]:
            play.drain(job["drains"], usable=job["drains"] in play.draining)
        play.arrive(
            a_job(
                f"{job['tenant']}{number}",
                job["checkpoint"],
                job["tenant"],
                job["on"],
                work=job["work"],
                arrived_at=moment,
                tenant_cap=CAPS[job["tenant"]],
                age_bound_s=BOUND_S,
                is_batch=job["is_batch"],
            )
        )
    for name in sorted(play.draining):
        play.drain(name, usable=True)
    if fixed.get("is_batch") is False:
        play.to_the_end()
    else:  # a batch job whose checkpoint nobody else asks for waits for ever
        play.until(play.now + 300.0)
    return play


@histories
@given(JOBS)
def test_p1_p2_p8_every_job_runs_exactly_once_on_an_able_backend_one_at_a_time(jobs):
    play = played(jobs, is_batch=False)
    assert len(play.ended) == len(play.started) == len(jobs)


@histories
@given(JOBS)
def test_p3_p6_no_backend_idles_beside_work_it_could_do_at_once_and_a_draining_one_begins_nothing(jobs):
    played(jobs, is_batch=False)


@histories
@given(JOBS)
def test_p4_beyond_its_bound_a_job_is_passed_only_by_the_overdue_or_within_a_residence(jobs):
    """After its bound nothing that is not overdue itself goes before a job, but where a checkpoint has just come, and
    where its own is loaded already it is passed by older ones only.
    """
    play = played(jobs, is_batch=False, tenant="z", drains="")
    for now, grant, loaded, since, waiting in play.seen:
        granted = play._jobs[grant.job_id]
        for job in waiting.values():
            if grant.backend not in job.runnable_on or now < job.arrived_at + BOUND_S:
                continue
            if job.checkpoint in ("", loaded) and not grant.swaps:
                assert granted.arrived_at <= job.arrived_at, (now, grant, job)
            elif not has_a_copy(play, job, now):
                is_overdue = now >= granted.arrived_at + BOUND_S
                assert is_overdue or now - since < RESIDENCE_S, (now, grant, job)


def has_a_copy(play: Watched, job: Ticket, now: float) -> bool:
    """Whether a backend that can run the job has, or is loading, its checkpoint: there it is the next of its kind."""
    loaded: dict[str, str] = {}
    for at, grant, _, _, _ in play.seen:
        if at <= now:
            loaded[grant.backend] = play._jobs[grant.job_id].checkpoint or loaded.get(grant.backend, "")
    return any(loaded.get(name) == job.checkpoint for name in job.runnable_on)


@histories
@given(JOBS)
def test_p5_no_tenant_ever_runs_more_jobs_than_its_cap(jobs):
    play = played(jobs, is_batch=False)
    for tenant, cap in CAPS.items():
        begins = [(at, 1) for job, (at, _) in play.started.items() if job.startswith(tenant)]
        ends = [(at, -1) for job, at in play.ended.items() if job.startswith(tenant)]
        running = 0
        for _, change in sorted(begins + ends):
            running += change
            assert running <= cap


@histories
@given(JOBS)
def test_p7_a_batch_job_begins_only_where_nobody_else_could(jobs):
    play = played(jobs)
    for _, grant, loaded, _, waiting in play.seen:
        if play._jobs[grant.job_id].is_batch:
            assert grant.rule is Rule.BATCH
            others = [
                job
                for job in waiting.values()
                if not job.is_batch and grant.backend in job.runnable_on and job.checkpoint in ("", loaded)
            ]
            assert [job for job in others if job.tenant == "z"] == []  # who has no cap


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JOBS, st.integers(0, 39))
def test_withdrawn_jobs_leave_no_trace(jobs, keep):
    play = Play(a_scheduler(a_backend("b1", running=Running("", "", "", 0.0))))
    tickets = [a_job(f"{n}", job["checkpoint"], job["tenant"], "b1", work=job["work"]) for n, job in enumerate(jobs)]
    play.arrive(*tickets)
    play.scheduler.left([ticket.job_id for ticket in tickets[keep:]], 1.0)
    assert {ticket.job_id for ticket in play.scheduler.waiting} == {ticket.job_id for ticket in tickets[:keep]}
    state = play.scheduler.state
    assert state.accounts.active == len({ticket.tenant for ticket in tickets[:keep]})
    assert sum(demand.jobs for demand in state.room.tenants.values()) == len(tickets[:keep])


@histories
@given(JOBS, st.sampled_from("ABC"), st.sampled_from("ABCD"), st.sampled_from(["b1 b2 b3", "b1", "b2 b3"]))
def test_p9_a_lone_job_on_an_idle_pool_starts_within_two_seconds(jobs, hot, checkpoint, on):
    play = played(jobs, is_batch=False)
    play.scheduler.began([a_job(f"hot {n}", hot) for n in range(100)], play.now)  # regret for it would hold for minutes
    lone = a_job("lone", checkpoint, "w", on, arrived_at=play.now, work=2.0)
    play.arrive(lone)
    play.until(play.now + 2.0)
    assert play.started["lone"][0] - lone.arrived_at <= 2.0
