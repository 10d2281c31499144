import pytest

from gateway.simulator.pool.baselines import Fifo
from gateway.simulator.pool.engine import PolicyFault, simulate
from gateway.simulator.pool.work import Done, Load, Start
from tests.simulator.pool.traces import a_gpu, jobs_at


class Scripted:
    """A policy that does the next thing of its script when it begins and when a GPU is free (or always, if eager)."""

    name = "scripted"
    swaps_are_free = False

    def __init__(self, *effects, eager=False):
        self.effects, self.seen, self.eager = list(effects), [], eager

    def happened(self, freed, arrived, now):
        self.seen.append((now, len(freed), len(arrived)))
        acts = self.effects and (freed or len(self.seen) == 1 or self.eager)
        return [self.effects.pop(0)] if acts else []

    def wake_at(self, now):
        return None


JOBS = jobs_at((1.0, "A"), (1.0, "A"), (20.0, "B"))


def test_a_job_takes_its_work_and_a_swap_when_another_checkpoint_was_loaded():
    policy = Scripted(Start(JOBS[0], 0), Start(JOBS[1], 0), Start(JOBS[2], 0))
    outcome = simulate([a_gpu()], JOBS, policy)
    assert outcome.done == [
        Done(JOBS[0], 0, 1.0, 12.0, 5.0),
        Done(JOBS[1], 0, 18.0, 0.0, 5.0),
        Done(JOBS[2], 0, 23.0, 12.0, 5.0),
    ]
    assert (outcome.swaps, outcome.makespan_s) == (2, 40.0)
    assert [done.latency_s for done in outcome.done] == [17.0, 22.0, 20.0]
    assert [done.wait_s for done in outcome.done] == [0.0, 17.0, 3.0]


def test_all_that_happens_at_one_instant_is_told_at_once():
    policy = Scripted(Start(JOBS[0], 0), Start(JOBS[1], 0), Start(JOBS[2], 0))
    simulate([a_gpu()], JOBS, policy)
    assert policy.seen[0] == (1.0, 0, 2)


def test_a_load_without_a_job_takes_the_swap_and_the_next_job_none():
    jobs = jobs_at((0.0, "A"))
    policy = Scripted(Load("A", 0), Start(jobs[0], 0))
    outcome = simulate([a_gpu()], jobs, policy)
    assert outcome.done == [Done(jobs[0], 0, 12.0, 0.0, 5.0)]
    assert outcome.loads == [(0, 0.0, 12.0, "A")]


def test_a_job_no_gpu_of_the_pool_can_run_is_refused_and_not_simulated():
    jobs = jobs_at((0.0, "A"), (0.0, "Z"))
    outcome = simulate([a_gpu()], jobs, Scripted(Start(jobs[0], 0)))
    assert ([d.job for d in outcome.done], outcome.refused) == ([jobs[0]], [jobs[1]])


@pytest.mark.parametrize(
    ("effects", "sentence"),
    [
        ((Start(JOBS[0], 0), Start(JOBS[0], 1)), "started job 0 twice"),
        ((Start(JOBS[2], 1),), "does not have it"),
        ((Start(JOBS[0], 0),), "left 2 jobs unserved"),
    ],
)
def test_a_policy_that_does_what_no_dispatcher_may_do_is_stopped(effects, sentence):
    with pytest.raises(PolicyFault, match=sentence):
        simulate([a_gpu("g0"), a_gpu("g1", models="A")], JOBS, Scripted(*effects))


def test_a_busy_gpu_cannot_be_given_a_second_job():
    jobs = jobs_at((0.0, "A"), (1.0, "A"))
    with pytest.raises(PolicyFault, match="while it was busy"):
        simulate([a_gpu()], jobs, Scripted(Start(jobs[0], 0), Start(jobs[1], 0), eager=True))


def test_progress_is_told_in_steps_and_never_beyond_the_jobs_there_are():
    told: list[int] = []
    jobs = jobs_at(*((float(n), "A") for n in range(500)))
    simulate([a_gpu()], jobs, Fifo([a_gpu()]), told.append)
    assert told == sorted(told)
    assert 200 <= told[0] <= told[-1] <= 500
