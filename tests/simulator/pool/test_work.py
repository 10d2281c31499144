from gateway.simulator.pool.work import Done, Outcome
from tests.simulator.pool.traces import a_gpu, jobs_at


def test_latency_is_wait_and_swap_and_generation_and_the_last_answer_ends_the_run():
    first, second = jobs_at((1.0, "A"), (2.0, "A"))
    done = [Done(first, 0, 4.0, 12.0, 5.0), Done(second, 1, 2.0, 0.0, 7.0)]
    assert [(d.wait_s, d.latency_s, d.ended_at) for d in done] == [(3.0, 20.0, 21.0), (0.0, 7.0, 9.0)]
    assert Outcome("p", [a_gpu()], done, [], 1).makespan_s == 21.0
    assert Outcome("p", [a_gpu()], [], [], 0).makespan_s == 0.0
