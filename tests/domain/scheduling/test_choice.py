"""Each rule of the scheduler, by its number."""

from dataclasses import replace
from itertools import pairwise

import pytest

from gateway.domain.scheduling import Grant, Policy, Rule, Running
from tests.domain.scheduling.builders import SWAP_S, Play, a_backend, a_job, a_scheduler

# --- (1) free and able ------------------------------------------------------------------------------


def test_a_job_goes_only_where_all_it_requires_is():
    scheduler = a_scheduler(a_backend("b1", "A"), a_backend("b2"))
    assert scheduler.arrived([a_job("1", "A", on="b2")], 0.0) == [Grant("1", "b2", swaps=True, rule=Rule.SWAP)]


def test_a_job_whose_backends_are_all_down_or_draining_waits():
    scheduler = a_scheduler(a_backend("b1", "A", usable=False), a_backend("b2"))
    assert scheduler.arrived([a_job("1", "A", on="b1")], 0.0) == []
    assert scheduler.backend_changed([a_backend("b1", "A")], 5.0) == [Grant("1", "b1")]


def test_a_draining_backend_finishes_its_job_and_takes_no_other():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job("1"), a_job("2")], 0.0)
    running = scheduler.backends["b1"].running
    scheduler.backend_changed([a_backend("b1", "A", usable=False, running=running)], 1.0)
    assert scheduler.finished("b1", 5.0, 5.0) == []
    assert [ticket.job_id for ticket in scheduler.waiting] == ["2"]


def test_the_same_checkpoint_with_other_requirements_is_loaded_where_those_are():
    # b1 has the checkpoint and is busy for ever; job 2 needs a LoRA that only b2 has.
    busy = a_backend("b1", "A", running=Running("0", "x", "A", 0.0, work=1e6))
    scheduler = a_scheduler(busy, a_backend("b2", "B"))
    assert scheduler.arrived([a_job("2", "A", on="b2")], 0.0) == [Grant("2", "b2", swaps=True, rule=Rule.SWAP)]


def test_an_upscale_runs_on_whatever_is_free_without_a_swap():
    scheduler = a_scheduler(a_backend("b1", "A"))
    upscale = a_job("1", "", work=0.0, upscaler="Lanczos", output_megapixels=4.0)
    assert scheduler.arrived([upscale], 0.0) == [Grant("1", "b1")]
    assert scheduler.backends["b1"].loaded == "A"


# --- (2) caps ---------------------------------------------------------------------------------------


def test_a_tenant_at_its_cap_waits_although_a_backend_is_free_and_others_pass():
    scheduler = a_scheduler(a_backend("b1", "A"), a_backend("b2", "A"))
    jobs = [a_job(str(n), tenant_cap=1) for n in range(2)]
    assert len(scheduler.arrived(jobs, 0.0)) == 1
    assert [g.job_id for g in scheduler.arrived([a_job("other", tenant="u", arrived_at=1.0)], 1.0)] == ["other"]
    assert scheduler.tick(2.0) == []


def test_a_free_slot_of_a_capped_tenant_is_used_as_soon_as_its_job_ended():
    scheduler = a_scheduler(a_backend("b1", "A"), a_backend("b2", "A"))
    scheduler.arrived([a_job(str(n), tenant_cap=1) for n in range(2)], 0.0)
    assert len(scheduler.finished("b1", 5.0, 5.0)) + len(scheduler.finished("b2", 5.0, 5.0)) == 1


# --- (3) fairness -----------------------------------------------------------------------------------


def served_until(play: Play, jobs: int) -> dict[str, float]:
    """GPU-seconds each tenant (the first letter of a job's id) got in the first so many jobs."""
    got: dict[str, float] = {"x": 0.0, "y": 0.0}
    for job_id in play.order()[:jobs]:
        got[job_id[0]] += 5.0
    return got


def two_that_never_stop(backends: int, checkpoints: str, weight: float) -> Play:
    names = [f"b{n}" for n in range(backends)]
    on = " ".join(names)
    play = Play(a_scheduler(*(a_backend(name) for name in names)))
    x = [a_job(f"x{n}", checkpoints[0], "x", on, tenant_weight=weight) for n in range(300)]
    y = [a_job(f"y{n}", checkpoints[1], "y", on) for n in range(300)]
    play.arrive(*x, *y)
    while len(play.started) < 200:
        assert play.step()
    return play


@pytest.mark.parametrize("checkpoints", ["AA", "AB"])
@pytest.mark.parametrize("backends", [1, 2, 4, 8])
def test_two_that_never_stop_get_gpu_seconds_by_weight_within_five_percent_over_200_jobs(backends, checkpoints):
    got = served_until(two_that_never_stop(backends, checkpoints, weight=3.0), 200)
    assert got["x"] / got["y"] == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("checkpoints", ["AA", "AB"])
@pytest.mark.parametrize("backends", [1, 4])
def test_two_equals_that_never_stop_differ_by_at_most_two_jobs_and_swaps_per_backend(backends, checkpoints):
    play = two_that_never_stop(backends, checkpoints, weight=1.0)
    for jobs in range(1, 200):
        got = served_until(play, jobs)
        assert abs(got["x"] - got["y"]) <= 2 * (5.0 + SWAP_S) * backends


def test_one_job_behind_a_flood_of_another_tenant_waits_for_one_job_only():
    play = Play(a_scheduler(a_backend("b1", "A")))
    play.arrive(*(a_job(f"x{n}", tenant="x", on="b1") for n in range(100)))
    play.until(51.0)
    play.now = 51.0
    play.arrive(a_job("y0", tenant="y", on="b1", arrived_at=51.0))
    play.to_the_end()
    assert play.waits("y")[0] <= 5.0


def test_within_a_flood_the_old_go_before_the_short_so_that_its_long_jobs_are_not_its_last():
    def first_of(tenants: str) -> str:
        scheduler = a_scheduler(a_backend("b1", "A", running=Running("0", "z", "A", 0.0, work=400.0)))
        scheduler.arrived([a_job("long", tenant=tenants[0], work=100.0)], 0.0)
        scheduler.arrived(
            [a_job(f"short{n}", tenant=tenants[n % len(tenants)], arrived_at=99.0) for n in range(60)], 99.0
        )
        scheduler.arrived([a_job(f"y{n}", "B", f"y{n}", arrived_at=99.0) for n in range(5)], 99.0)
        return scheduler.finished("b1", 100.0, 100.0)[0].job_id

    assert first_of("x") == "long"
    assert first_of("abcdefghijklmnopqrst").startswith("short")  # the same work of many is no flood


def test_a_copy_that_only_a_flood_still_needs_is_given_up_the_sooner_the_more_copies_share_it():
    def first_of_others_waits_s(flood_times: float) -> float:
        loaded = (a_backend("b1", "A"), a_backend("b2", "A"))
        play = Play(a_scheduler(*loaded, policy=Policy(flood_times=flood_times)))
        play.arrive(*(a_job(f"flood{n}", "A", "x") for n in range(80)))
        play.until(1.0)
        play.arrive(*(a_job(f"other{n}", "B", f"y{n}", arrived_at=1.0) for n in range(20)))
        play.to_the_end()
        return min(play.waits("other"))

    assert first_of_others_waits_s(3.0) < first_of_others_waits_s(1e9)


def test_a_flood_of_upscales_on_backends_with_nothing_loaded_is_served_beside_others():
    play = Play(a_scheduler(a_backend("b1"), a_backend("b2")))
    upscale = {"work": 0.0, "upscaler": "4x", "output_megapixels": 4.0}
    play.arrive(*(a_job(f"flood{n}", "", "x", **upscale) for n in range(80)))
    play.arrive(*(a_job(f"other{n}", "B", f"y{n}") for n in range(4)))
    play.to_the_end()
    assert len(play.ended) == 84


def test_gpu_seconds_of_jobs_that_never_waited_count_against_their_tenant():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job("0", tenant="z")], 0.0)
    scheduler.arrived([a_job("x1", tenant="x"), a_job("y1", tenant="y", arrived_at=1.0)], 1.0)
    scheduler.used("x", 500.0)
    assert [g.job_id for g in scheduler.finished("b1", 5.0, 5.0)] == ["y1"]


# --- (4) locality -----------------------------------------------------------------------------------


def test_a_younger_job_whose_checkpoint_is_loaded_goes_before_an_older_one_that_needs_a_swap():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job("0")], 0.0)
    scheduler.arrived([a_job("old", "B", arrived_at=1.0), a_job("young", "A", arrived_at=4.0)], 4.0)
    assert scheduler.finished("b1", 5.0, 5.0) == [Grant("young", "b1")]


def test_short_jobs_go_before_long_ones_of_the_same_age():
    play = Play(a_scheduler(a_backend("b1", "A")))
    play.arrive(a_job("0"), a_job("long", work=200.0), a_job("short", work=8.0), a_job("middle", work=40.0))
    play.to_the_end()
    assert play.order() == ["short", "0", "middle", "long"]


# --- (5) swaps --------------------------------------------------------------------------------------


def test_an_idle_pool_loads_at_once_on_the_backend_whose_checkpoint_is_asked_for_least():
    play = Play(a_scheduler(a_backend("b1"), a_backend("b2")))
    for n in range(5):
        play.arrive(a_job(f"a{n}", "A", on="b1", arrived_at=play.now))
        play.to_the_end()
    play.arrive(a_job("b", "B", on="b2", arrived_at=play.now))
    play.to_the_end()
    play.arrive(a_job("c", "C", arrived_at=play.now))
    play.to_the_end()
    assert play.started["c"][1].backend == "b2"


def test_fifty_first_calls_for_a_cold_model_load_it_once_and_then_only_as_the_backlog_justifies():
    names = [f"b{n}" for n in range(8)]
    play = Play(a_scheduler(*(a_backend(name) for name in names)))
    play.arrive(*(a_job(str(n), on=" ".join(names)) for n in range(50)))
    assert len(play.started) == 1
    play.until(SWAP_S)
    assert play.swaps <= 2
    play.to_the_end()
    assert 2 <= play.swaps <= 250 / (4 * SWAP_S) + 1


def test_a_few_jobs_for_a_busy_checkpoint_wait_for_it_rather_than_load_a_copy():
    play = Play(a_scheduler(a_backend("b1", "A"), a_backend("b2", "B")))
    play.arrive(*(a_job(str(n)) for n in range(5)))
    play.to_the_end()
    assert play.swaps == 0


def test_alternating_checkpoints_on_one_backend_are_gathered_into_a_quarter_of_the_swaps_of_a_fifo():
    play = Play(a_scheduler(a_backend("b1")))
    for n in range(200):
        play.until(n * 6.0)
        play.now = n * 6.0
        play.arrive(a_job(str(n), "AB"[n % 2], on="b1", arrived_at=play.now))
    play.to_the_end()
    assert play.swaps <= 200 / 4  # a fifo swaps for every job
    assert max(play.waits()) <= 900.0


def test_a_checkpoint_with_work_left_is_not_evicted_before_its_residence():
    policy = Policy(residence_swaps=10.0, outweigh=1.0)
    play = Play(a_scheduler(a_backend("b1"), policy=policy))
    play.arrive(*(a_job(f"a{n}", "A", on="b1", tenant=f"t{n}") for n in range(40)))
    play.arrive(*(a_job(f"b{n}", "B", on="b1", tenant=f"u{n}") for n in range(60)))
    play.to_the_end()
    swaps = sorted((at, grant.rule) for at, grant in play.started.values() if grant.swaps)
    stays = [at - before for (before, _), (at, rule) in pairwise(swaps) if rule is Rule.OUTWEIGHS]
    assert stays
    assert min(stays) >= 10.0 * SWAP_S


# --- (6) age ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap_s", [4.5, 5.0, 6.0])
def test_an_endless_stream_for_one_checkpoint_never_starves_another_beyond_the_bound(gap_s):
    bound_s = 300.0
    play = Play(a_scheduler(a_backend("b1")))
    for n in range(400):
        play.until(n * gap_s)
        play.now = n * gap_s
        play.arrive(a_job(f"a{n}", "A", "x", "b1", arrived_at=play.now, age_bound_s=bound_s))
        if n % 100 == 50:
            play.arrive(a_job(f"b{n}", "B", "y", "b1", arrived_at=play.now, age_bound_s=bound_s))
    play.to_the_end()
    assert max(play.waits("b")) <= bound_s + Policy().residence_swaps * SWAP_S + 5.0


def test_an_overdue_job_goes_before_shorter_younger_ones_of_the_same_checkpoint():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job("0", work=4000.0)], 0.0)
    scheduler.arrived([a_job("old", work=100.0, age_bound_s=50.0)], 0.0)
    scheduler.arrived([a_job("young", work=4.0, arrived_at=60.0)], 60.0)
    assert scheduler.finished("b1", 61.0, 61.0) == [Grant("old", "b1", rule=Rule.OVERDUE)]


# --- (7) slow backends ------------------------------------------------------------------------------


def test_a_slow_backend_leaves_the_last_jobs_to_a_fast_one_that_is_done_sooner():
    play = Play(a_scheduler(a_backend("fast", "A"), a_backend("slow", "A")), slow={"slow": 4.0})
    for n in range(4):  # learns both speeds
        play.arrive(a_job(f"learn{n}", on="fast slow", arrived_at=play.now))
        play.arrive(a_job(f"learn too{n}", on="fast slow", arrived_at=play.now))
        play.to_the_end()
    begun = play.now
    play.arrive(*(a_job(f"last{n}", on="fast slow", arrived_at=begun) for n in range(3)))
    play.to_the_end()
    assert play.now - begun <= 15.0 + 1e-6
    assert {play.started[f"last{n}"][1].backend for n in range(3)} == {"fast"}


def test_no_backend_stays_idle_to_gain_less_than_the_next_start_takes():
    """Seen failing without `_WORTH_WAITING_S`: jobs of milliseconds then queued beside idle backends."""
    play = Play(a_scheduler(a_backend("fast", "A"), a_backend("slow", "A")), slow={"slow": 4.0})
    for n in range(8):
        play.arrive(a_job(f"learn{n}", on="fast slow", arrived_at=play.now, work=0.2))
        play.arrive(a_job(f"learn too{n}", on="fast slow", arrived_at=play.now, work=0.2))
        play.to_the_end()
    play.arrive(*(a_job(f"last{n}", on="fast slow", arrived_at=play.now, work=0.2) for n in range(2)))
    assert {play.started[f"last{n}"][1].backend for n in range(2)} == {"fast", "slow"}


def test_a_job_that_only_the_slow_backend_can_run_does_not_wait_for_the_fast_one():
    play = Play(a_scheduler(a_backend("fast", "A"), a_backend("slow", "A")), slow={"slow": 4.0})
    for n in range(3):
        play.arrive(a_job(f"f{n}", on="fast", arrived_at=play.now), a_job(f"s{n}", on="slow", arrived_at=play.now))
        play.to_the_end()
    assert play.waits("s") == [0.0, 0.0, 0.0]


# --- (8) batch --------------------------------------------------------------------------------------


def a_batch_job(job_id: str, checkpoint: str = "A", **more):
    return replace(a_job(job_id, checkpoint, **more), is_batch=True)


def test_a_batch_job_never_causes_a_swap():
    scheduler = a_scheduler(a_backend("b1", "B"))
    assert scheduler.arrived([a_batch_job("1", "A")], 0.0) == []
    assert scheduler.backend_changed([a_backend("b1", "A")], 9.0) == [Grant("1", "b1", rule=Rule.BATCH)]


def test_a_batch_job_waits_while_anyone_else_can_use_the_backend():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job("0")], 0.0)
    scheduler.arrived([a_batch_job("batch"), a_job("other", arrived_at=3.0), a_job("swap", "B", arrived_at=3.0)], 3.0)
    order = [scheduler.finished("b1", 5.0, 5.0 * n)[0].job_id for n in range(1, 3)]
    assert order == ["other", "swap"]
    assert scheduler.finished("b1", 17.0, 30.0) == []  # B is loaded now, and the batch job wants A


def test_among_batch_jobs_the_tenant_served_least_goes_first_and_caps_hold():
    scheduler = a_scheduler(a_backend("b1", "A"), a_backend("b2", "A"))
    jobs = [a_batch_job(f"x{n}", tenant="x", tenant_cap=1) for n in range(3)]
    assert [g.job_id for g in scheduler.arrived([*jobs, a_batch_job("y", tenant="y")], 0.0)] == ["x0", "y"]
    assert [g.job_id for g in scheduler.finished("b2", 5.0, 5.0)] == []
    assert [g.job_id for g in scheduler.finished("b1", 5.0, 6.0)] == ["x1"]


# --- a lone caller -----------------------------------------------------------------------------------


def hot(scheduler, checkpoint="A", jobs=60):
    """The checkpoint was asked for so often that regret holds it for long."""
    scheduler.began([a_job(f"{checkpoint} before {n}", checkpoint) for n in range(jobs)], 0.0)
    return scheduler


def waited(scheduler, *tickets, most_s=60):
    """Seconds until each starts, looked at as the dispatcher does: at once and then once a second."""
    starts = {grant.job_id: 0 for grant in scheduler.arrived(tickets, 10.0)}
    for second in range(1, most_s):
        for grant in scheduler.tick(10.0 + second):
            starts.setdefault(grant.job_id, second)
    return starts


def test_a_lone_caller_whose_model_is_loaded_nowhere_waits_two_seconds_at_most_on_an_idle_pool():
    scheduler = hot(a_scheduler(a_backend("b1", "A"), a_backend("b2", "A")))
    assert waited(scheduler, a_job("1", "B", arrived_at=10.0)) == {"1": 1}


def test_a_job_for_the_loaded_checkpoint_that_comes_in_that_moment_goes_first():
    scheduler = hot(a_scheduler(a_backend("b1", "A")))
    assert scheduler.arrived([a_job("1", "B", on="b1", arrived_at=10.0)], 10.0) == []
    assert scheduler.arrived([a_job("2", "A", on="b1", arrived_at=10.5)], 10.5) == [Grant("2", "b1")]


def test_two_callers_with_two_models_on_an_idle_pool_wait_no_longer_than_one():
    scheduler = hot(a_scheduler(a_backend("b1", "A"), a_backend("b2", "A")))
    jobs = [a_job("1", "B", arrived_at=10.0), a_job("2", "C", tenant="u", arrived_at=10.0)]
    assert waited(scheduler, *jobs) == {"1": 1, "2": 1}


def test_a_job_that_waits_for_a_backend_that_is_down_and_a_batch_job_make_nobody_else_wait():
    busy = Running("x", "x", "A", 0.0, work=1e6)
    scheduler = hot(
        a_scheduler(a_backend("b1", "A"), a_backend("b2", "A", running=busy), a_backend("gone", "C", usable=False))
    )
    scheduler.arrived([a_job("0", "C", on="gone"), a_job("batch", "D", on="b1", is_batch=True)], 1.0)
    assert waited(scheduler, a_job("1", "B", arrived_at=10.0)) == {"1": 1}


def test_while_others_wait_too_and_something_runs_the_evicted_checkpoint_is_still_regretted():
    busy = Running("x", "x", "C", 0.0, work=1e6)
    scheduler = hot(a_scheduler(a_backend("b1", "A"), a_backend("b2", "C", running=busy)))
    scheduler.arrived([a_job("0", "C", on="b2", arrived_at=1.0)], 1.0)
    assert waited(scheduler, a_job("1", "B", arrived_at=10.0))["1"] > 10
