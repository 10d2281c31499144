"""When the breaker lets a call through; its clock is an argument."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.redis.breaker import Breaker


def test_everything_passes_while_the_store_answers():
    breaker = Breaker(1.0)
    assert [breaker.admits(now) for now in (0.0, 0.0, 0.5)] == [True, True, True]


def test_after_a_failure_nothing_passes_for_the_period_and_then_one_probe_each_period():
    breaker = Breaker(1.0)
    breaker.failed(10.0)
    assert [breaker.admits(now) for now in (10.0, 10.9, 11.0, 11.0, 11.9, 12.0, 12.1)] == [
        *(False, False),
        *(True, False, False),
        *(True, False),
    ]


def test_an_answered_probe_closes_it_and_a_failed_one_begins_the_period_anew():
    breaker = Breaker(1.0)
    breaker.failed(0.0)
    assert breaker.admits(1.0)
    breaker.failed(1.5)
    assert not breaker.admits(2.4)
    assert breaker.admits(2.5)
    breaker.succeeded()
    assert breaker.is_closed
    assert [breaker.admits(2.5), breaker.admits(2.5)] == [True, True]


@given(st.lists(st.floats(0, 0.7), min_size=1, max_size=200))
def test_while_it_is_open_two_probes_are_never_closer_than_the_period(pauses):
    breaker, now, probes = Breaker(1.0), 0.0, [0.0]
    breaker.failed(now)
    for pause in pauses:
        now += pause
        if breaker.admits(now):
            probes.append(now)
    assert all(later - earlier >= 1.0 - 1e-9 for earlier, later in itertools.pairwise(probes))
    assert now - probes[-1] <= 1.0 + 0.7
