import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.scheduling.past import LONGEST_S, MOST_JOBS, SHORTEST_S, Past
from tests.domain.scheduling.builders import a_job


def a_past(*moments: float) -> Past:
    past = Past()
    for number, moment in enumerate(moments):
        past.add(a_job(str(number), "ABC"[number % 3], arrived_at=moment))
    return past


def test_the_past_is_played_again_from_a_moment_of_it_and_goes_on_at_its_beginning():
    found = list(a_past(0.0, 100.0, 350.0).again(0.5, 400.0, 400.0))
    assert [(t.checkpoint, t.arrived_at) for t in found] == [("C", 550.0), ("A", 600.0), ("B", 700.0)]


def test_expected_jobs_are_told_apart_from_real_ones_and_from_each_other():
    found = [t.job_id for t in a_past(0.0, 100.0).again(0.0, 400.0, 800.0)]
    assert found == ["expected 1", "expected 2", "expected 3", "expected 4"]


def test_a_past_that_has_just_begun_is_taken_for_a_lull_that_ended():
    first_calls = a_past(*(0.0 for _ in range(50)))
    assert len(list(first_calls.again(0.0, 1.0, SHORTEST_S))) == 50


def test_nothing_is_expected_when_nothing_ever_came():
    assert list(a_past().again(0.5, 100.0, 600.0)) == []


def test_a_job_that_comes_again_is_not_counted_twice():
    past = a_past(0.0, 10.0)
    past.add(a_job("0", arrived_at=0.0))
    assert len(past) == 2


def test_what_is_long_ago_or_too_much_is_forgotten():
    assert len(a_past(0.0, 1.0, LONGEST_S + 0.5)) == 2
    assert len(a_past(*(n * 0.1 for n in range(MOST_JOBS + 10)))) == MOST_JOBS


def test_a_copy_changes_on_its_own():
    past = a_past(0.0)
    past.copy().add(a_job("1", arrived_at=1.0))
    assert len(past) == 1


@given(st.lists(st.floats(0.0, 900.0), min_size=1, max_size=30), st.floats(0.0, 1.0))
def test_any_future_comes_in_order_within_the_horizon_and_as_often_as_the_past(moments, share):
    now, horizon_s = 1000.0, 3000.0
    past = a_past(*sorted(moments))
    found = [ticket.arrived_at for ticket in past.again(share, now, horizon_s)]
    assert all(now <= at < now + horizon_s for at in found)
    assert all(earlier <= later for earlier, later in itertools.pairwise(found))
    span_s = now - min(min(moments), now - SHORTEST_S)
    assert len(found) == pytest.approx(len(past) * horizon_s / span_s, abs=len(past) + 1)
