"""Rates and windows: the rules themselves, as properties."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.limits import (
    DAY_US,
    MICROSECONDS,
    Fits,
    TooSoon,
    decide_rate,
    interval_us,
    retry_after_window_us,
    window_of,
)
from gateway.domain.usage import Window

NOW = 1_800_000_000 * MICROSECONDS
moments = st.integers(0, 200 * 365 * DAY_US)


def admitted(gaps: list[int], every_us: int, burst: int) -> list[int]:
    """The times at which calls, `gaps` apart, were admitted."""
    kept, now, times = 0, NOW, []
    for gap in gaps:
        now += gap
        decision = decide_rate(kept, now, every_us, burst)
        if isinstance(decision, Fits):
            kept = decision.arrival_us
            times.append(now)
    return times


def test_a_burst_fits_at_once_and_counts_down():
    kept, seen = 0, []
    for _ in range(4):
        decision = decide_rate(kept, NOW, 1000, 3)
        seen.append(decision)
        kept = decision.arrival_us if isinstance(decision, Fits) else kept
    assert seen == [Fits(NOW + 1000, 2, 1000), Fits(NOW + 2000, 1, 2000), Fits(NOW + 3000, 0, 3000), TooSoon(1000)]


@given(st.lists(st.integers(0, 5000), max_size=60), st.integers(1, 3000), st.integers(1, 5), st.integers(1, 20_000))
def test_no_span_of_time_ever_admits_more_than_its_share_and_one_burst(gaps, every_us, burst, span):
    times = admitted(gaps, every_us, burst)
    for start in times:
        assert sum(start <= time < start + span for time in times) <= burst + -(-span // every_us)


@given(st.integers(0, 20_000), st.integers(1, 3000), st.integers(1, 5))
def test_a_call_fits_exactly_when_it_was_told_and_not_a_microsecond_sooner(ahead, every_us, burst):
    kept = NOW + ahead
    decision = decide_rate(kept, NOW, every_us, burst)
    if isinstance(decision, TooSoon):
        assert isinstance(decide_rate(kept, NOW + decision.retry_after_us, every_us, burst), Fits)
        assert isinstance(decide_rate(kept, NOW + decision.retry_after_us - 1, every_us, burst), TooSoon)


@given(st.integers(0, 20_000), st.integers(1, 3000), st.integers(1, 5))
def test_as_many_more_fit_at_once_as_was_told(ahead, every_us, burst):
    decision = decide_rate(NOW + ahead, NOW, every_us, burst)
    if isinstance(decision, Fits):
        kept = decision.arrival_us
        for _ in range(decision.remaining):
            further = decide_rate(kept, NOW, every_us, burst)
            assert isinstance(further, Fits)
            kept = further.arrival_us
        assert isinstance(decide_rate(kept, NOW, every_us, burst), TooSoon)


def test_who_was_away_for_long_has_the_whole_burst_and_no_more():
    assert decide_rate(NOW - 10 * DAY_US, NOW, 1000, 3) == Fits(NOW + 1000, 2, 1000)


@pytest.mark.parametrize(("per_minute", "expected"), [(60, 1_000_000), (0.5, 120_000_000), (7, 8_571_429), (1e12, 1)])
def test_the_interval_is_in_whole_microseconds_and_never_nothing(per_minute, expected):
    assert interval_us(per_minute) == expected


@pytest.mark.parametrize("per_minute", [0, -1, float("nan")])
def test_a_rate_that_is_not_positive_is_a_mistake(per_minute):
    with pytest.raises(ValueError, match="more than 0 a minute"):
        interval_us(per_minute)


@given(moments)
def test_a_day_is_a_day_of_the_utc_calendar(now_us):
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now_us)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    assert window_of(Window.DAY, now_us) == (midnight.timestamp() / 86_400, midnight.timestamp() / 86_400 + 1)


@given(moments)
def test_a_month_has_the_days_the_calendar_gives_it_and_begins_on_its_first(now_us):
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now_us)
    first, following = window_of(Window.MONTH, now_us)
    assert following - first == calendar.monthrange(moment.year, moment.month)[1]
    assert first == now_us // DAY_US - moment.day + 1


@given(moments, st.sampled_from(Window))
def test_the_wait_for_a_window_ends_where_the_next_one_begins(now_us, window):
    end_us = now_us + retry_after_window_us(window, now_us)
    assert window_of(window, end_us)[0] == window_of(window, now_us)[1]
    assert window_of(window, end_us - 1) == window_of(window, now_us)
