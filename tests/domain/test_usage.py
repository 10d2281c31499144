"""The ledger's record."""

from __future__ import annotations

import pytest

from gateway.domain.jobs import Operation, Outcome
from gateway.domain.usage import Record


def record(**times) -> Record:
    return Record("j", "t", "k", Operation.TXT2IMG, Outcome.FINISHED, **times)


@pytest.mark.parametrize(
    ("times", "queue_s"),
    [
        ({"entered_at": 10.0, "started_at": 12.5, "ended_at": 20.0}, 2.5),
        ({"entered_at": 10.0, "ended_at": 100.0}, 90.0),  # it never began
        ({"entered_at": 10.0, "started_at": 9.999}, 0.0),  # never negative
        ({}, 0.0),
    ],
)
def test_time_in_the_queue_ends_when_work_begins_or_the_job_does(times, queue_s):
    assert record(**times).queue_s == pytest.approx(queue_s)
