import pytest

from gateway.domain.scheduling import Forecast, Prospect, Running, forecasting
from gateway.domain.scheduling.outlook import to_the_end
from tests.domain.scheduling.builders import a_backend, a_job, a_scheduler


def the_forecast(scheduler, now) -> Forecast:
    return to_the_end(forecasting(scheduler, now))


def test_waiting_jobs_their_tenants_and_further_calls_are_foretold_together():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job("0"), a_job("1", tenant="u"), a_job("2", tenant="u", work=40.0)], 100.0)
    scheduler.state.past._seen.clear()
    told = the_forecast(scheduler, 102.0)
    assert told.jobs == {
        "1": Prospect(1, pytest.approx(105.0), "1 runs another job"),
        "2": Prospect(2, pytest.approx(110.0), "1 runs another job"),
    }
    assert (told.tenants, told.models) == ({"u": pytest.approx(105.0)}, {})
    assert told.other_s == pytest.approx(18.0)  # when nobody waits any more


def test_a_further_call_waits_for_the_running_job_and_what_goes_before_it():
    scheduler = a_scheduler(a_backend("b1", "A"), a_backend("b2", "B"))
    scheduler.arrived([a_job("0", on="b1"), a_job("1", on="b1"), a_job("2", "B", on="b2", work=80.0)], 0.0)
    told = the_forecast(scheduler, 0.0)
    assert told.models == {"A": pytest.approx(10.0), "B": pytest.approx(20.0)}


def test_on_an_idle_pool_a_call_waits_for_nothing_and_on_one_that_is_down_nothing_is_promised():
    scheduler = a_scheduler(a_backend("b1", "A"))
    scheduler.arrived([a_job("0", on="b1")], 0.0)
    scheduler.finished("b1", 5.0, 5.0)
    assert the_forecast(scheduler, 5.0) == Forecast({}, {}, {"A": 0.0}, other_s=0.0)
    scheduler.backend_changed([a_backend("b1", "A", usable=False)], 6.0)
    assert the_forecast(scheduler, 6.0) == Forecast({}, {}, {})


def test_on_an_idle_pool_the_moment_for_which_a_swap_is_put_off_is_part_of_what_is_told():
    scheduler = a_scheduler(a_backend("b1", "B", running=Running("x", "x", "B", 0.0)))
    scheduler.began([a_job(f"{n}", "A") for n in range(30)], 0.0)  # A is asked for often
    scheduler.began([a_job("once", "B")], 0.0)
    scheduler.backend_changed([a_backend("b1", "A")], 1.0)
    told = the_forecast(scheduler, 100.0)
    assert told.models == {"A": 0.0, "B": 1.0}
    assert told.other_s == 1.0
    (grant,) = [g for now in (100.0, 101.0) for g in scheduler.arrived([a_job("call", "B", arrived_at=100.0)], now)]
    assert grant.backend == "b1"


def test_a_call_that_cannot_be_rehearsed_to_its_start_is_told_how_far_it_got():
    """A tenant at its cap of none never starts: the rehearsal must end all the same."""
    scheduler = a_scheduler(a_backend("b1", "A", running=Running("x", "x", "A", 0.0, work=40.0)))
    scheduler.arrived([a_job("0", tenant_cap=0)], 0.0)
    assert the_forecast(scheduler, 0.0).models["A"] >= 10.0


def test_the_reason_counts_backends_for_each_cause_and_names_age():
    busy = Running("x", "x", "C", 0.0, work=1e6)
    scheduler = a_scheduler(
        a_backend("b1", "C", running=busy), a_backend("b2", "B", usable=False), a_backend("elsewhere", "A")
    )
    scheduler.arrived([a_job("0")], 0.0)
    assert the_forecast(scheduler, 1.0).jobs["0"].why == "1 down, draining or recovering; 1 runs another job"
    assert the_forecast(scheduler, 901.0).jobs["0"].why.startswith("beyond its age bound; 1 down")
    scheduler.arrived([a_job("1", on="gone")], 1.0)
    assert the_forecast(scheduler, 1.0).jobs["1"].why == "no backend of the pool has all it requires"


def test_no_further_call_is_foretold_for_a_checkpoint_nobody_asked_for_lately():
    scheduler = a_scheduler(a_backend("b1", "A"))
    names = [f"m{n}" for n in range(30)]
    scheduler.arrived([a_job(name, name, arrived_at=float(n)) for n, name in enumerate(names)], 30.0)
    assert set(the_forecast(scheduler, 30.0).models) == set(names[6:])
