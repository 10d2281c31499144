from __future__ import annotations

import pytest

from gateway.domain.reports import day_of


@pytest.mark.parametrize(("epoch_s", "day"), [(0.0, 0), (86_399.999, 0), (86_400.0, 1), (-0.5, -1)])
def test_a_day_begins_at_midnight_utc(epoch_s, day):
    assert day_of(epoch_s) == day
