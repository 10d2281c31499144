import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.scheduling.accounts import Accounts


def test_with_two_active_tenants_who_is_served_is_above_the_level_by_what_the_other_is_below():
    accounts = Accounts(debt_s=100.0)
    accounts.entered("a", 1.0)
    accounts.entered("b", 1.0)
    accounts.charge("a", 10.0, 1.0)
    assert (accounts.above_level("a"), accounts.above_level("b")) == (pytest.approx(5.0), pytest.approx(-5.0))


def test_service_in_the_ratio_of_the_weights_leaves_both_at_the_level():
    accounts = Accounts(debt_s=100.0)
    accounts.entered("a", 3.0)
    accounts.entered("b", 1.0)
    accounts.charge("a", 30.0, 3.0)
    accounts.charge("b", 10.0, 1.0)
    assert (accounts.above_level("a"), accounts.above_level("b")) == (pytest.approx(0.0), pytest.approx(0.0))


def test_idleness_cannot_be_saved_up():
    accounts = Accounts(debt_s=100.0)
    accounts.entered("a", 1.0)
    accounts.entered("sleeper", 1.0)
    accounts.ended("sleeper")
    accounts.charge("a", 50.0, 1.0)
    accounts.entered("sleeper", 1.0)
    assert accounts.above_level("sleeper") == 0.0


def test_leaving_and_coming_back_does_not_clear_what_was_had():
    accounts = Accounts(debt_s=100.0)
    accounts.entered("a", 1.0)
    accounts.entered("b", 1.0)
    accounts.charge("a", 40.0, 1.0)
    accounts.ended("a")
    accounts.entered("a", 1.0)
    assert accounts.above_level("a") == pytest.approx(20.0)


def test_no_more_than_the_debt_is_held_against_anyone():
    accounts = Accounts(debt_s=100.0)
    for tenant in ("a", "b", "c"):
        accounts.entered(tenant, 1.0)
    accounts.charge("a", 100_000.0, 1.0)
    assert accounts.above_level("a") == pytest.approx(100.0)


def test_a_correction_takes_back_what_was_estimated_too_high():
    accounts = Accounts(debt_s=100.0)
    accounts.entered("a", 1.0)
    accounts.entered("b", 1.0)
    accounts.charge("a", 10.0, 1.0)
    accounts.charge("a", -10.0, 1.0)
    assert accounts.above_level("a") == pytest.approx(0.0)


def test_a_tenant_is_active_until_its_last_job_ended():
    accounts = Accounts(debt_s=100.0)
    accounts.entered("a", 1.0)
    accounts.entered("a", 1.0)
    accounts.ended("a")
    assert accounts.active == 1
    accounts.ended("a")
    accounts.ended("a")
    assert accounts.active == 0


def test_what_is_dumped_gives_the_same_standing_to_the_next_process():
    accounts = Accounts(debt_s=100.0)
    accounts.entered("a", 1.0)
    accounts.entered("b", 2.0)
    accounts.charge("a", 10.0, 1.0)
    again = Accounts(100.0, accounts.dump())
    assert again.above_level("a") == pytest.approx(accounts.above_level("a"))
    assert again.above_level("b") == pytest.approx(accounts.above_level("b"))


def test_a_copy_changes_on_its_own():
    accounts = Accounts(debt_s=100.0)
    accounts.entered("a", 1.0)
    copy = accounts.copy()
    copy.entered("b", 1.0)
    copy.charge("a", 10.0, 1.0)
    assert (accounts.active, accounts.above_level("a")) == (1, 0.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 50.0)), max_size=60))
def test_among_tenants_who_never_leave_the_weighted_standings_always_cancel_out(charges):
    weights = {"a": 1.0, "b": 2.0, "c": 5.0}
    accounts = Accounts(debt_s=1e9)
    for tenant, weight in weights.items():
        accounts.entered(tenant, weight)
    for tenant, gpu_s in charges:
        accounts.charge(tenant, gpu_s, weights[tenant])
    assert sum(accounts.above_level(t) * w for t, w in weights.items()) == pytest.approx(0.0, abs=1e-6)
