"""How a new server process is told from the one before."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.backends import Backend, Condition, ServerProcess, is_replaced

WAIT_S = st.floats(0, 0.5)


def seen(began_at, asked_at, took_s):
    """What an uptime in whole seconds tells of a process."""
    uptime = math.floor(asked_at + took_s / 2 - began_at)
    return ServerProcess.told_by(uptime, asked_at, asked_at + took_s)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0.5, 20), WAIT_S, WAIT_S)
def test_the_same_process_is_never_taken_for_another(began_at, age_s, between_s, first_took_s, second_took_s):
    first = seen(began_at, began_at + age_s, first_took_s)
    second = seen(began_at, began_at + age_s + between_s, second_took_s)
    assert not second.is_other_than(first)


@given(st.floats(0, 1e6), st.floats(4, 1e6), st.floats(0, 1), WAIT_S, WAIT_S)
def test_a_process_that_began_between_two_looks_is_recognised(began_at, age_s, ago_s, first_took_s, second_took_s):
    looked_at = began_at + age_s
    first = seen(began_at, looked_at, first_took_s)
    second = seen(looked_at + 1 - ago_s, looked_at + 1, second_took_s)
    assert second.is_other_than(first)


@pytest.mark.parametrize(
    ("condition", "began_at", "replaced"),
    [
        (Condition("x", needs_restart=True, began_at=100.0), 100.0, False),
        (Condition("x", needs_restart=True, began_at=100.0), 103.0, False),
        (Condition("x", needs_restart=True, began_at=100.0), 130.0, True),
        (Condition("x", needs_restart=True), 130.0, False),
    ],
)
def test_the_process_that_had_to_go_is_known_by_when_it_began(condition, began_at, replaced):
    assert is_replaced(condition, began_at) is replaced


def test_a_backend_shows_no_password():
    assert "secret" not in repr(Backend("a", "http://a", "me", "secret"))
