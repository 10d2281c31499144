import json
import random
import sys
from dataclasses import replace

import pytest

from gateway.domain.scheduling import (
    DEFAULT_AGE_BOUND_S,
    BackendView,
    Ending,
    Grant,
    Policy,
    Rule,
    Running,
    Scheduler,
    Ticket,
)
from tests.domain.scheduling.builders import SWAP_S, a_backend, a_job, a_scheduler


def test_a_job_that_left_is_never_granted():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job("0"), a_job("1")], 0.0)
    scheduler.left(["1", "unknown"], 1.0)
    assert (scheduler.finished("b1", 5.0, 5.0), scheduler.waiting) == ([], ())


def test_what_happens_at_once_is_told_whole_before_anything_is_granted():
    scheduler = a_scheduler(a_backend("b1", "A"), a_backend("b2", "A", usable=False))
    scheduler.arrived([a_job("0"), a_job("1"), a_job("2")], 0.0)
    with scheduler.gathering():
        assert scheduler.finished("b1", 5.0, 5.0) == []
        assert scheduler.backend_changed([a_backend("b1", "A", usable=False), a_backend("b2", "A")], 5.0) == []
    assert scheduler.tick(5.0) == [Grant("1", "b2")]


def test_the_waiting_are_listed_oldest_first():
    scheduler = a_scheduler()
    scheduler.arrived([a_job("young", arrived_at=5.0), a_job("old", arrived_at=1.0)], 5.0)
    assert [ticket.job_id for ticket in scheduler.waiting] == ["old", "young"]


def test_a_job_told_again_is_replaced():
    scheduler = a_scheduler(a_backend("b2", "A"))
    scheduler.arrived([a_job("1", on="b1")], 0.0)
    assert scheduler.arrived([a_job("1", on="b2")], 1.0) == [Grant("1", "b2")]


def test_a_grant_that_was_not_carried_out_is_taken_back_with_its_charge_and_tried_again():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job("1"), a_job("u", tenant="u", on="b9")], 0.0)
    assert scheduler.account_s("t") > 0
    grants = scheduler.arrived([a_job("1")], 1.0)
    assert grants == [Grant("1", "b1")]
    assert scheduler.account_s("t") == pytest.approx(2.5)  # charged once: 5 s, half of them its own share


def test_a_running_job_that_nobody_granted_here_holds_its_backend_and_counts_for_its_tenant():
    scheduler = a_scheduler(a_backend("b1", "A", running=Running("0", "t", "A", 0.0)), a_backend("b2", "A"))
    assert scheduler.arrived([a_job("1", tenant_cap=1)], 0.0) == []
    assert scheduler.finished("b1", 5.0, 5.0) == [Grant("1", "b1")]


def test_upkeep_holds_a_backend_and_is_charged_to_nobody():
    scheduler = a_scheduler(a_backend("b1", "A", running=Running("", "", "", 0.0)))
    assert scheduler.arrived([a_job("1")], 0.0) == []
    assert scheduler.finished("b1", 60.0, 60.0) == [Grant("1", "b1")]
    assert scheduler.account_s("") == 0.0


def test_a_removed_backend_takes_no_more_jobs_and_its_tenant_is_idle_again():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job("1")], 0.0)
    scheduler.backend_removed(["b1", "unknown"])
    assert (scheduler.arrived([a_job("2")], 1.0), dict(scheduler.backends)) == ([], {})
    assert scheduler.state.accounts.active == 1  # job 2 alone


def test_the_estimate_charged_at_the_grant_is_corrected_by_the_measured_time():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job("0", tenant="u", on="b9"), a_job("1", work=20.0)], 0.0)
    assert scheduler.account_s("t") == pytest.approx(2.5)
    scheduler.arrived([a_job("2", on="b9")], 1.0)
    scheduler.finished("b1", 9.0, 9.0)
    assert scheduler.account_s("t") == pytest.approx(4.5)


def test_a_job_that_failed_by_the_backends_fault_costs_its_tenant_nothing_and_teaches_nothing():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job("0", tenant="u", on="b9"), a_job("1"), a_job("2", on="b9")], 0.0)
    scheduler.finished("b1", 0.1, 0.1, Ending.FAILED)
    assert (scheduler.account_s("t"), scheduler.speeds.dump()) == (pytest.approx(0.0), [])


def test_a_job_its_caller_stopped_is_charged_for_what_it_ran_and_teaches_nothing():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job("0", tenant="u", on="b9"), a_job("1"), a_job("2", on="b9")], 0.0)
    scheduler.finished("b1", 2.0, 2.0, Ending.STOPPED)
    assert (scheduler.account_s("t"), scheduler.speeds.dump()) == (pytest.approx(1.0), [])


def test_speeds_swaps_and_upscales_are_learned_from_finished_jobs():
    scheduler = a_scheduler(a_backend("b1"))
    scheduler.arrived([a_job("1", work=10.0)], 0.0)
    scheduler.arrived([a_job("2", work=10.0)], 0.0)
    scheduler.finished("b1", 30.0, 30.0)
    scheduler.arrived([a_job("3", "", work=0.0, upscaler="Lanczos", output_megapixels=2.0)], 30.0)
    scheduler.finished("b1", 5.0, 35.0)
    scheduler.finished("b1", 1.0, 36.0)
    assert scheduler.speeds.generation.rate("b1", "A") == pytest.approx(0.5)
    assert scheduler.speeds.upscale.rate("b1", "Lanczos") == pytest.approx(0.5)
    assert scheduler.speeds.swap.rate("b1", "A") > SWAP_S


def test_nobody_need_call_while_only_an_event_can_change_anything():
    scheduler = a_scheduler(a_backend("b1", "A"))
    assert scheduler.wake_at(0.0) is None
    scheduler.arrived([a_job("0"), a_job("1")], 0.0)
    assert scheduler.wake_at(0.0) is None
    scheduler.backend_changed([a_backend("b3", "A")], 1.0)
    assert scheduler.wake_at(1.0) == 2.0


def test_a_new_process_goes_on_from_the_dump_as_if_nothing_had_happened():
    first = a_scheduler(a_backend("b1", "A"))
    for n in range(4):
        first.arrived([a_job(f"x{n}", tenant="x", arrived_at=float(n))], float(n))
    first.finished("b1", 9.0, 9.0)
    first.arrived([a_job("y", tenant="y", arrived_at=9.0)], 9.0)

    second = Scheduler(memory=json.loads(json.dumps(first.dump())))
    second.backend_changed(first.backends.values(), 9.0)
    second.arrived(first.waiting, 9.0)

    assert second.account_s("x") == pytest.approx(first.account_s("x"))
    assert second.dump()["speeds"] == first.dump()["speeds"]
    assert second.finished("b1", 9.0, 18.0) == first.finished("b1", 9.0, 18.0) != []


def test_a_fork_decides_as_the_original_and_changes_nothing_of_it():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job(str(n)) for n in range(3)], 0.0)
    fork = scheduler.fork()
    grants = fork.finished("b1", 5.0, 5.0, Ending.STOPPED)
    assert len(scheduler.waiting) == 2
    assert scheduler.finished("b1", 5.0, 5.0, Ending.STOPPED) == grants


def test_a_swap_not_yet_worth_it_becomes_so_with_age():
    scheduler = a_scheduler(a_backend("b1"), policy=Policy(regret_swaps=250.0))
    now = 0.0
    for n in range(60):  # A is asked for every 6 s
        scheduler.arrived([a_job(f"a{n}", "A", arrived_at=now)], now)
        now += 6.0
        scheduler.finished("b1", 5.0, now)
    assert scheduler.arrived([a_job("b", "B", arrived_at=now)], now) == []
    later = scheduler.tick(now + DEFAULT_AGE_BOUND_S)
    assert later == [replace(Grant("b", "b1"), swaps=True, rule=later[0].rule)]
    assert later[0].rule in (Rule.SWAP, Rule.OVERDUE)


def test_equal_jobs_go_in_order_of_age_also_while_it_is_learned_how_fast_they_are():
    """What callers saw: of 32 equal ones two thirds waited for ever, as they came before the speed was known."""
    scheduler = a_scheduler(a_backend("b1", "A"), a_backend("b2", "A"))
    early = [a_job(f"early-{number}", arrived_at=number * 0.001) for number in range(10)]
    running, order, now = scheduler.arrived(early, 0.01), [], 0.01
    for number in range(120):
        grant = running.pop(0)
        order.append(grant.job_id)
        now += 0.01  # a fraction of the 5 s that an unknown checkpoint is thought to take
        running += scheduler.arrived([a_job(f"late-{number}", arrived_at=now)], now)
        running += scheduler.finished(grant.backend, 0.02, now)
    assert order[:10] == [job.job_id for job in early]


def calls_during(act) -> int:
    """How many Python functions are called: a cost that no other work on the machine changes."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(None)
    return calls


def costs_of_decisions(jobs: int, backends: int = 100, checkpoints: int = 60) -> list[int]:
    """Of 150 decisions in a queue of so many jobs, sorted; speeds that vary wildly have jobs costed anew each time."""
    dice = random.Random(1)  # noqa: S311 - repeatable
    names = [f"b{number}" for number in range(backends)]
    scheduler = Scheduler()
    scheduler.backend_changed(
        [
            BackendView(n, f"m{k % checkpoints}", True, Running(f"r{n}", "t0", "m0", 0.0, 20.0))
            for k, n in enumerate(names)
        ],
        0.0,
    )

    def arrive(number: int, now: float) -> None:
        model, able = f"m{dice.randrange(checkpoints)}", frozenset(names if number % 3 else names[::2])
        scheduler.arrived([Ticket(f"j{number}", f"t{dice.randrange(40)}", model, able, now, dice.uniform(5, 60))], now)

    for number in range(jobs):
        arrive(number, 100.0)
    costs = []
    for number in range(150):
        busy = dice.choice([name for name, view in scheduler.backends.items() if view.running is not None])
        costs.append(calls_during(lambda: scheduler.finished(busy, dice.choice((1.0, 5.0, 30.0)), 101.0 + number)))  # noqa: B023
        arrive(jobs + number, 101.0 + number)
    return sorted(costs)


def test_a_decision_costs_a_bounded_number_of_operations_also_when_it_has_to_cost_jobs_anew():
    costs = costs_of_decisions(1000)
    assert costs[75] <= 2500
    assert costs[-1] <= 8500


def test_a_decision_costs_lanes_and_not_jobs():
    few, many = costs_of_decisions(1000, checkpoints=5), costs_of_decisions(8000, checkpoints=5)
    assert many[75] <= 1.3 * few[75]
    assert many[-1] <= 1.3 * few[-1]
