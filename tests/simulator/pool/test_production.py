import math
import statistics

import pytest

from gateway.domain.scheduling import estimates
from gateway.simulator.pool.baselines import Affinity, Fifo
from gateway.simulator.pool.engine import simulate
from gateway.simulator.pool.production import Gateway
from gateway.simulator.pool.report import summarise
from gateway.simulator.pool.work import Job, Tenant
from tests.simulator.pool.traces import a_gpu, jobs_at, public


@pytest.mark.parametrize("trace", ["steady", "small", "bursty", "flooded", "mixed", "overload"])
def test_the_production_scheduler_beats_affinity_without_a_longer_tail_or_more_swaps(trace):
    gpus, jobs = public(trace)
    ours, theirs = (summarise(simulate(gpus, jobs, make(gpus))) for make in (Gateway, Affinity))
    assert ours["latency_s"]["mean"] <= 0.85 * theirs["latency_s"]["mean"]
    assert ours["latency_s"]["p99"] <= 1.15 * theirs["latency_s"]["p99"]
    assert ours["swaps"] <= (1.2 if trace == "overload" else 1.0) * theirs["swaps"]


@pytest.mark.parametrize("seed", [101, 202])
@pytest.mark.parametrize("trace", ["steady", "small", "overload"])
def test_it_does_so_on_other_dice_too(trace, seed):
    gpus, jobs = public(trace, seed)
    ours, theirs = (summarise(simulate(gpus, jobs, make(gpus))) for make in (Gateway, Affinity))
    assert ours["latency_s"]["mean"] <= 0.75 * theirs["latency_s"]["mean"]
    assert ours["latency_s"]["p99"] <= 1.15 * theirs["latency_s"]["p99"]


def test_other_tenants_hardly_feel_a_flood_that_triples_their_wait_under_affinity():
    gpus, jobs = public("flooded")
    calm = [job for job in jobs if job.tenant != "t0"]

    def others_s(make, trace):
        return statistics.mean(d.latency_s for d in simulate(gpus, trace, make(gpus)).done if d.job.tenant != "t0")

    assert others_s(Gateway, jobs) <= 1.5 * others_s(Gateway, calm)
    assert others_s(Affinity, jobs) >= 3.0 * others_s(Affinity, calm)


@pytest.mark.parametrize("swap_s", [3.0, 30.0])
def test_one_gpu_and_alternating_models_need_a_quarter_of_the_swaps_of_a_fifo(swap_s):
    gpus = [a_gpu(swap_s=swap_s)]
    jobs = jobs_at(*((5.5 * n, "AB"[n % 2]) for n in range(300)))
    ours, fifo = (simulate(gpus, jobs, make(gpus)) for make in (Gateway, Fifo))
    assert ours.swaps <= fifo.swaps / 4
    assert max(d.wait_s for d in ours.done) <= 900.0


def test_a_fast_and_a_slow_gpu_together_need_at_most_a_tenth_more_than_the_best_possible():
    gpus = [a_gpu("fast", speed=0.25), a_gpu("slow", speed=0.75)]
    sizes = [8.0 + 7 * (n * 37 % 11) for n in range(60)]
    jobs = [Job(str(n), 0.0, "t", "A", size) for n, size in enumerate(sizes)]
    # No schedule is faster than both working to the same last moment, each after its one load.
    bound_s = (sum(sizes) + 12 / 0.25 + 12 / 0.75) / (1 / 0.25 + 1 / 0.75)
    assert simulate(gpus, jobs, Gateway(gpus)).makespan_s <= 1.1 * bound_s


def test_weights_and_caps_of_tenants_reach_the_scheduler():
    gpus = [a_gpu("g0"), a_gpu("g1")]
    jobs = [Job(f"{t}{n}", 0.0, t, "A", 20.0) for n in range(150) for t in "xy"]
    done = simulate(gpus, jobs, Gateway(gpus, {"x": Tenant(weight=3.0)})).done
    first = [d.job.tenant for d in sorted(done, key=lambda d: d.started_at)[:200]]
    assert first.count("x") / first.count("y") == pytest.approx(3.0, rel=0.05)

    done = simulate(gpus, jobs, Gateway(gpus, {"x": Tenant(cap=1), "y": Tenant(cap=1)})).done
    moments = sorted((at, change, d.job.tenant) for d in done for at, change in ((d.started_at, 1), (d.ended_at, -1)))
    running = {"x": 0, "y": 0}
    for _, change, tenant in moments:
        running[tenant] += change
        assert running[tenant] <= 1


def test_among_many_who_never_stop_a_small_lag_is_no_reason_to_swap():
    gpus = [a_gpu("g0", models="A B C D E"), a_gpu("g1", models="A B C D E")]
    jobs = [Job(f"{t}-{n}", 0.0, f"t{t}", "ABCDE"[t % 5], 20.0) for n in range(100) for t in range(10)]
    outcome = simulate(gpus, jobs, Gateway(gpus))
    had_s = dict.fromkeys((f"t{t}" for t in range(10)), 0.0)
    for done in sorted(outcome.done, key=lambda d: d.started_at)[:500]:
        had_s[done.job.tenant] += done.run_s
    assert outcome.swaps <= 40  # 74 when a lag was measured against the backends instead of the other tenants
    assert max(had_s.values()) - min(had_s.values()) <= 2 * (5.0 + 12.0) * 9  # a job and a swap, twice, for each other


class Asking(Gateway):
    """Asks for the estimate of every thirtieth job the moment it has to wait."""

    def __init__(self, gpus):
        super().__init__(gpus)
        self.promised: dict[str, float] = {}

    def happened(self, freed, arrived, now):
        effects = super().happened(freed, arrived, now)
        for job in arrived:
            if int(job.job_id) % 30 == 0 and job.job_id in self.scheduler.state.room:
                self.promised[job.job_id] = estimates(self.scheduler, now)[job.job_id].wait_s
        return effects


@pytest.mark.parametrize("trace", ["steady", "small"])
def test_the_wait_a_job_is_told_on_arrival_comes_true(trace):
    gpus, jobs = public(trace)
    policy = Asking(gpus)
    waits = {d.job.job_id: d.wait_s for d in simulate(gpus, jobs, policy).done}
    errors = sorted(abs(told - waits[job]) / max(1.0, waits[job]) for job, told in policy.promised.items())
    assert len(errors) > 60
    assert statistics.median(errors) <= 0.2
    assert errors[math.ceil(0.9 * len(errors)) - 1] <= 0.7
