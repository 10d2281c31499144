import pytest

from gateway.simulator.pool.baselines import Affinity, Fifo, LeastConnections, RoundRobin
from gateway.simulator.pool.engine import simulate
from gateway.simulator.pool.policies import named
from gateway.simulator.pool.report import summarise
from tests.simulator.pool.traces import REFERENCE, a_gpu, jobs_at, public

CASES = [(trace, policy) for trace, rows in REFERENCE.items() for policy in rows]


@pytest.mark.parametrize(("trace", "policy"), CASES)
def test_a_baseline_comes_within_three_percent_of_the_independent_simulator(trace, policy):
    gpus, jobs = public(trace)
    found = summarise(simulate(gpus, jobs, named(policy, gpus)))
    mean_s, p99_s, swaps = REFERENCE[trace][policy]
    assert found["latency_s"]["mean"] == pytest.approx(mean_s, rel=0.03)
    assert found["latency_s"]["p99"] == pytest.approx(p99_s, rel=0.03)
    if swaps is not None:
        assert found["swaps"] == pytest.approx(swaps, rel=0.03)


def places(make, gpus, jobs) -> list[int]:
    done = simulate(gpus, jobs, make(gpus)).done
    return [d.gpu for d in sorted(done, key=lambda d: int(d.job.job_id))]


def test_round_robin_goes_around_the_gpus_that_have_the_model_busy_or_not():
    gpus = [a_gpu("g0"), a_gpu("g1", models="B"), a_gpu("g2")]
    assert places(RoundRobin, gpus, jobs_at(*((100.0 * n, "A") for n in range(4)))) == [0, 2, 0, 2]


def test_least_connections_takes_the_first_of_the_least_loaded_and_stays_there():
    gpus = [a_gpu("g0"), a_gpu("g1")]
    assert places(LeastConnections, gpus, jobs_at((0.0, "A"), (1.0, "A"), (2.0, "A"), (3.0, "A"))) == [0, 1, 0, 1]


def test_fifo_starts_the_oldest_and_prefers_a_loaded_gpu_then_the_fastest():
    gpus = [a_gpu("slow", speed=0.5), a_gpu("fast")]
    assert places(Fifo, gpus, jobs_at((0.0, "A"), (50.0, "B"), (100.0, "A"), (150.0, "A"))) == [1, 1, 1, 1]
    assert places(Fifo, [a_gpu("g0"), a_gpu("g1")], jobs_at((0.0, "A"), (1.0, "B"), (50.0, "B"))) == [0, 1, 1]


def test_affinity_lets_a_younger_job_pass_whose_checkpoint_is_loaded():
    jobs = jobs_at((0.0, "A"), (1.0, "B"), (2.0, "A"))
    done = simulate([a_gpu()], jobs, Affinity([a_gpu()])).done
    assert [d.job.job_id for d in done] == ["0", "2", "1"]
