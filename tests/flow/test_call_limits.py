"""Limits of a process for calls that ask for no picture: generous, by key and by address, in bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import TooManyCalls
from gateway.flow.call_limits import CallLimits, Rates, home_of


def refused(count, *arguments):
    """The wait that is told, 0.0 when it is counted."""
    try:
        count(*arguments)
    except TooManyCalls as error:
        return error.retry_after_s
    return 0.0


def test_no_client_meets_them():
    """Twenty tabs that ask for the progress twice a second for ten minutes, and each every list at its start."""
    limits = CallLimits()
    for tick in range(1_200):
        for _ in range(20 * (30 if tick == 0 else 1)):
            limits.count("shared", tick * 0.5)
            limits.count_stranger("192.0.2.1", tick * 0.5)


def test_a_key_that_calls_too_often_waits_as_long_as_is_said_and_others_do_not():
    limits = CallLimits(key_per_minute=60)
    waits = [refused(limits.count, "key", 0.0) for _ in range(11)]
    assert waits == [0.0] * 10 + [1.0]
    assert (refused(limits.count, "other", 0.0), refused(limits.count, "key", 1.0)) == (0.0, 0.0)


def test_a_large_body_counts_as_many_calls_and_is_paid_off_in_time():
    limits = CallLimits(key_per_minute=600)
    limits.charge("key", 0.0, 32_000_000)
    assert refused(limits.refuse, "key", 0.0) == pytest.approx(32 - 10 + 0.1)
    assert refused(limits.refuse, "key", 22.2) == 0.0


def test_the_addresses_of_one_ipv6_network_count_as_one_and_a_caller_without_one_is_not_counted():
    limits = CallLimits(address_per_minute=60)
    waits = [refused(limits.count_stranger, f"2001:db8::{number}", 0.0) for number in range(11)]
    assert (waits[9] == 0.0, waits[10] > 0.0) == (True, True)
    assert refused(limits.count_stranger, "2001:db8:0:1::1", 0.0) == 0.0
    assert {refused(limits.count_stranger, "", 0.0) for _ in range(100)} == {0.0}
    assert (home_of("192.0.2.1"), home_of("no:address")) == ("192.0.2.1", "no:address")


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([-1, 1, 5])), max_size=50))
def test_whatever_comes_a_name_that_waits_as_told_fits_and_memory_is_bounded(steps):
    rates = Rates(per_minute=60, burst=3, most_names=4)
    for name, calls in steps:
        if calls > 0 or name in rates:
            rates.charge(name, 0.0, calls)
        wait_s = rates.wait_s(name, 0.0)
        assert rates.wait_s(name, wait_s) == 0.0
        assert len(rates) <= 4
