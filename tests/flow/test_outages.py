"""One line when a store goes and one when it is back."""

from __future__ import annotations

from itertools import count

from gateway.flow.outages import Outages
from tests.flow.world import Lines

AWAY, FULL = "It does not answer.", "Its disk is full."


def outages():
    lines, seconds = Lines(), count()
    return Outages(lines, lambda: float(next(seconds))), lines.others


def test_an_outage_is_told_once_however_long_it_lasts_and_its_end_once():
    stores, lines = outages()
    stores.worked("redis", was_write=True)
    for _ in range(50):
        stores.failed("redis", AWAY, was_write=True)
    assert stores.reason("redis") == AWAY
    stores.worked("redis", was_write=True)
    stores.worked("redis", was_write=True)
    assert lines == [
        ("store_gone", {"store": "redis", "reason": AWAY}),
        ("store_back", {"store": "redis", "away_s": 1.0}),
    ]
    assert stores.reason("redis") == ""


def test_a_full_disk_is_not_over_because_something_was_read():
    stores, lines = outages()
    for _ in range(3):
        stores.failed("database", FULL, was_write=True)
        stores.worked("database", was_write=False)
    assert (stores.reason("database"), len(lines)) == (FULL, 1)
    stores.worked("database", was_write=True)
    assert (stores.reason("database"), len(lines)) == ("", 2)


def test_another_reason_is_told_and_one_store_says_nothing_of_the_other():
    stores, lines = outages()
    stores.failed("redis", AWAY, was_write=False)
    stores.failed("redis", FULL, was_write=True)
    stores.failed("database", AWAY, was_write=False)
    assert [fields["reason"] for _, fields in lines] == [AWAY, FULL, AWAY]
    stores.worked("database", was_write=False)
    assert (stores.reason("redis"), stores.reason("database")) == (FULL, "")
