import statistics

import pytest

from gateway.domain.scheduling import Ending, Estimate, Refusal, Running, estimate, estimates, explain
from gateway.domain.scheduling.outlook import estimating, least_wrong, to_the_end
from tests.domain.scheduling.builders import Play, a_backend, a_job, a_scheduler


def test_jobs_behind_one_running_job_are_estimated_in_the_order_they_will_go():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job("0"), a_job("1", work=20.0), a_job("2", work=40.0)], 0.0)
    found = estimates(scheduler, 2.0)
    # 8 s if nobody comes; another may come that goes before it.
    assert found == {"1": Estimate(1, pytest.approx(3.0)), "2": Estimate(2, pytest.approx(8.0 * 1.15))}
    assert (estimate(scheduler, "2", 2.0), estimate(scheduler, "0", 2.0)) == (found["2"], None)


def test_a_job_for_another_backend_does_not_count_as_ahead():
    busy = [a_backend(n, "A", running=Running(n, "x", "A", 0.0, work=40.0)) for n in ("b1", "b2")]
    scheduler = a_scheduler(*busy)
    scheduler.arrived([a_job(f"1-{n}", on="b1") for n in range(5)], 0.0)
    scheduler.arrived([a_job("2", on="b2")], 0.0)
    assert estimates(scheduler, 0.0)["2"] == Estimate(1, pytest.approx(10.0))


def test_a_swap_that_comes_before_is_part_of_the_wait():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job("0")], 0.0)
    scheduler.arrived([a_job("b1", "B"), a_job("b2", "B")], 0.0)
    waits = sorted(estimate.wait_s for estimate in estimates(scheduler, 0.0).values())
    assert waits == [pytest.approx(5.0), pytest.approx(5.0 + 12.0 + 5.0)]


def test_nobody_waits_means_nothing_to_estimate_and_batch_jobs_are_not_promised_anything():
    scheduler = a_scheduler(a_backend("b1", "B"))
    scheduler.arrived([a_job("1", is_batch=True)], 0.0)
    assert estimates(scheduler, 0.0) == {}


def test_jobs_no_backend_can_take_now_are_still_given_a_position_and_a_wait():
    scheduler = a_scheduler(a_backend("b1", "A", usable=False))
    scheduler.arrived([a_job("1", on="b1"), a_job("2", on="b1", arrived_at=1.0)], 1.0)
    assert [e.wait_s for e in estimates(scheduler, 1.0).values()] == [pytest.approx(0.0), pytest.approx(5.0)]


def test_what_the_rehearsal_does_not_reach_comes_after_what_it_does():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job(str(n), arrived_at=n * 0.1) for n in range(30)], 3.0)
    found = estimates(scheduler, 3.0, most_steps=5)
    reached = sorted(e.wait_s for e in found.values())
    assert len(found) == 29
    assert reached[-1] == pytest.approx(29 * 5.0, rel=0.25)


def test_estimating_changes_nothing_of_the_queue():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job(str(n)) for n in range(5)], 0.0)
    before = (scheduler.waiting, dict(scheduler.backends), scheduler.dump())
    estimates(scheduler, 1.0)
    assert (scheduler.waiting, dict(scheduler.backends), scheduler.dump()) == before


def test_what_happens_between_two_steps_of_an_estimate_does_not_change_it():
    def a_queue():
        scheduler = a_scheduler(a_backend("b1", "A"))
        scheduler.arrived([a_job(str(n), "AB"[n % 2], arrived_at=float(n)) for n in range(6)], 6.0)
        return scheduler

    scheduler = a_queue()
    steps = estimating(scheduler, 6.0)
    next(steps)
    scheduler.left(["2", "3"], 6.5)
    scheduler.finished("b1", 6.5, 6.5, Ending.STOPPED)
    assert to_the_end(steps) == estimates(a_queue(), 6.0)


def test_with_others_expected_a_job_is_told_a_longer_wait_than_with_nobody():
    busy = Running("0", "x", "A", 0.0, work=40.0)

    def told_after(past):
        scheduler = a_scheduler(a_backend("b1", "A", running=busy))
        for number in range(past):
            scheduler.arrived([a_job(f"short {number}", work=4.0, arrived_at=number * 3.0)], number * 3.0)
            scheduler.left([f"short {number}"], number * 3.0 + 1.0)
        scheduler.backend_changed([a_backend("b1", "A", running=Running("1", "x", "A", 300.0, work=40.0))], 300.0)
        scheduler.arrived([a_job("long", tenant="u", work=400.0, arrived_at=300.0)], 300.0)
        return estimates(scheduler, 300.0)["long"].wait_s

    assert told_after(0) == pytest.approx(10.0)
    assert told_after(100) > 13.0


def test_of_futures_that_differ_the_wait_is_told_that_most_of_them_bear_out():
    assert least_wrong([10.0]) == 10.0
    assert least_wrong([10.0, 10.0, 11.0, 200.0]) == pytest.approx(10.0, rel=0.05)
    assert 10.0 <= least_wrong([10.0, 20.0]) <= 15.0  # one half too long is worse than a quarter too short


def test_without_newcomers_the_estimate_of_a_whole_queue_comes_true():
    play = Play(a_scheduler(a_backend("b1"), a_backend("b2")))
    play.arrive(*(a_job(f"{n}", "ABC"[n % 3], f"t{n % 4}", work=10.0 + n) for n in range(40)))
    play.until(30.0)
    play.scheduler.state.past._seen.clear()  # nobody is expected
    found, began = estimates(play.scheduler, play.now), play.now
    play.to_the_end()
    actual = {job: at - began for job, (at, _) in play.started.items() if job in found}
    errors = [abs(found[job].wait_s - wait_s) / wait_s for job, wait_s in actual.items() if wait_s > 0]
    assert statistics.median(errors) <= 0.2


def test_an_explanation_says_for_every_backend_what_speaks_against_it():
    scheduler = a_scheduler(
        a_backend("able", "A", running=Running("0", "x", "A", 0.0, work=1e6)),
        a_backend("down", "A", usable=False),
        a_backend("kept", "A", running=Running("", "", "", 0.0)),
        a_backend("without", "A"),
    )
    scheduler.arrived([a_job("1", on="able down kept")], 0.0)
    found = explain(scheduler, "1", 40.0)
    assert found is not None
    assert found.refusals == (
        ("able", Refusal.BUSY),
        ("down", Refusal.DOWN),
        ("kept", Refusal.UPKEEP),
        ("without", Refusal.UNABLE),
    )
    assert (found.loaded_on, found.waited_s, found.is_overdue, found.above_share_s) == (
        ("able", "kept"),
        40.0,
        False,
        0.0,
    )


def test_an_explanation_tells_a_cap_from_a_swap_not_worth_it_and_from_a_batch_job():
    scheduler = a_scheduler(a_backend("b1", "A", running=Running("0", "t", "A", 0.0, work=200.0)), a_backend("b2", "B"))
    scheduler.arrived([a_job("capped", "B", tenant_cap=1)], 0.0)
    scheduler.arrived([a_job("waits", "A", tenant="u")], 0.0)
    scheduler.arrived([a_job("batch", "C", tenant="v", is_batch=True)], 0.0)
    reasons = {job: dict(explain(scheduler, job, 1.0).refusals)["b2"] for job in ("capped", "waits", "batch")}
    assert reasons == {"capped": Refusal.CAP, "waits": Refusal.SWAP_NOT_WORTH, "batch": Refusal.IDLE_ONLY}


def test_there_is_nothing_to_explain_of_a_job_that_does_not_wait():
    assert explain(a_scheduler(), "1", 0.0) is None
