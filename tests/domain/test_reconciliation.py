"""Counting jobs at the door and in the ledger."""

from __future__ import annotations

from gateway.domain.reconciliation import Count, Reconciliation, spans


def test_the_difference_is_what_has_no_record_and_will_get_none():
    found = Reconciliation(since=1.0, admitted=10, recorded=6, unwritten=2, open=1, unaccounted=5)
    assert found.difference == 1


def test_each_earlier_count_lasts_until_the_next_began():
    first, second, now = Count(1.0, 5), Count(4.0, 7), Count(9.0, 2)
    assert spans([second, now, first], now) == [(first, 4.0), (second, 9.0)]


def test_without_earlier_counts_there_is_no_span():
    now = Count(9.0, 2)
    assert spans([now], now) == []
