"""One line for each change of a backend's state."""

from __future__ import annotations

from gateway.domain.backends import FIT, BackendState, Condition
from gateway.flow.state_log import StateLog
from tests.flow.world import Lines

UP, DOWN, UNSEEN = BackendState.UP, BackendState.DOWN, BackendState.UNSEEN
AWAY = Condition("The backend cannot be reached.")


def log():
    lines = Lines()
    return StateLog(lines), lines.others


def test_each_change_is_told_once_however_often_it_is_seen():
    states, lines = log()
    for state, condition in ((UP, FIT), (UP, FIT), (DOWN, AWAY), (DOWN, AWAY), (UP, FIT), (UP, FIT)):
        states.backend("a", state, condition)
    assert lines == [
        ("backend_up", {"backend": "a"}),
        ("backend_down", {"backend": "a", "reason": AWAY.reason}),
        ("backend_up", {"backend": "a"}),
    ]


def test_what_was_told_is_no_news_when_it_is_read_from_the_store_a_moment_later():
    states, lines = log()
    states.seen("a", None, FIT)
    states.backend("a", DOWN, AWAY)
    states.seen("a", None, FIT)
    states.seen("a", DOWN, AWAY)
    states.backend("a", UP)
    states.seen("a", DOWN, AWAY)  # the view is older than what was published
    states.seen("a", UP, FIT)
    assert [event for event, _ in lines] == ["backend_down", "backend_up"]


def test_what_a_job_of_another_process_found_is_told_by_the_leader():
    states, lines = log()
    states.seen("a", UP, FIT)
    states.seen("a", BackendState.SET_ASIDE, Condition("it limits the gateway's rate"))
    states.backend("a", UP)
    assert lines == [
        ("backend_set_aside", {"backend": "a", "reason": "it limits the gateway's rate"}),
        ("backend_up", {"backend": "a"}),
    ]


def test_a_leader_that_begins_does_not_repeat_what_is_as_it_was():
    states, lines = log()
    for name, state in (("a", UNSEEN), ("b", DOWN)):
        states.seen(name, state, FIT)
    states.backend("a", UP)
    states.backend("b", DOWN, AWAY)
    assert lines == []


def test_another_reason_of_the_same_state_is_told():
    states, lines = log()
    for reason in ("one", "one", "two"):
        states.backend("a", BackendState.PREPARING, Condition(reason))
    assert [fields["reason"] for _, fields in lines] == ["one", "two"]


def test_a_backend_that_was_removed_is_told_once_and_one_that_was_never_seen_not_at_all():
    states, lines = log()
    states.backend("a", UP)
    states.removed("a")
    states.removed("a")
    states.removed("b")
    assert [event for event, _ in lines] == ["backend_up", "backend_removed"]
