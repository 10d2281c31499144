from __future__ import annotations

import pytest

from gateway.cli.values import date, limits, moment, names, seconds
from gateway.domain.errors import InvalidRequest
from gateway.domain.keys import Names


@pytest.mark.parametrize(
    ("text", "value"),
    [("90s", 90.0), ("15m", 900.0), ("24h", 86_400.0), ("1.5d", 129_600.0), ("2w", 1_209_600.0), ("7", 7.0)],
)
def test_a_duration_is_read_in_any_unit(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "d", "-1d", "1y", "1 d x", "nan"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InvalidRequest, match="no duration"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("never", None),
        ("1d", 87_400.0),
        ("1970-01-02", 86_400.0),
        ("1970-01-02T01:00", 90_000.0),
        ("1970-01-02T01:00+01:00", 86_400.0),
        ("1970-01-02T00:00Z", 86_400.0),
    ],
)
def test_a_moment_is_a_duration_from_now_a_date_or_never(text, value):
    assert moment(text, now=1000.0) == value


def test_what_is_no_date_is_refused():
    with pytest.raises(InvalidRequest, match="no date"):
        date("31.1.2027")


@pytest.mark.parametrize(
    ("globs", "value"),
    [
        (["a*", "b"], Names(("a*", "b"))),
        (["a*", "!ab"], Names(("a*",), ("ab",))),
        (["!ab"], Names(("*",), ("ab",))),
        (["none"], Names(())),
    ],
)
def test_globs_with_a_mark_deny_and_denials_alone_leave_the_rest(globs, value):
    assert names(globs) == value


def test_limits_keep_whole_numbers_whole():
    found = limits(["burst=1_000", "weight=1.5", "images_per_day=none"], ["burst", "weight", "images_per_day"])

    assert found == {"burst": 1000, "weight": 1.5, "images_per_day": None}
    assert type(found["burst"]) is int


def test_a_limit_that_is_no_number_is_refused():
    with pytest.raises(InvalidRequest, match="give a number"):
        limits(["burst=many"], ["burst"])
