"""Whose progress is it, and how is it told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.progress import (
    Follower,
    OwnProgress,
    Shown,
    as_internal_progress,
    as_progress,
    as_status,
)

IDLE = {"id": "", "progress": 0, "state": {"job": "", "job_count": 0}, "current_image": None}


def running(step, *, task="j1", image="AAAA", **state):
    return {
        "id": task,
        "progress": step / 20,
        "eta_relative": 3.5,
        "state": {
            "job": "Inference",
            "job_count": 1,
            "job_no": 0,
            "sampling_step": step,
            "sampling_steps": 20,
            **state,
        },
        "current_image": image,
    }


def test_what_stands_still_is_never_taken_for_this_job():
    follower = Follower()
    assert [follower.saw(running(7)) for _ in range(3)] == [(Shown(), "")] * 3


def test_what_moves_is_this_job_and_its_picture_is_shown_once_a_step_was_made():
    follower = Follower()
    follower.saw(running(7, task="stale", image="OTHER"))
    assert follower.saw(running(0, image="OTHER")) == (Shown(0.01, 3.5, "Inference", 0, 1, 0, 20), "")
    assert follower.saw(running(5)) == (Shown(0.25, 3.5, "Inference", 0, 1, 5, 20), "AAAA")


def test_after_an_idle_answer_whatever_runs_is_this_job():
    follower = Follower()
    assert follower.saw(IDLE) == (Shown(), "")
    assert follower.saw(running(3))[0].progress == 0.15


def test_a_backend_that_says_idle_after_steps_encodes():
    follower = Follower()
    for answer in (IDLE, running(3), running(9)):
        follower.saw(answer)
    shown, preview = follower.saw(IDLE)
    assert (shown.progress, shown.job, preview) == (0.99, "encoding", "")


NAMES = st.sampled_from(["id", "progress", "eta_relative", "state", "job", "job_count", "sampling_step"])
SCALARS = st.none() | st.floats() | st.text() | st.booleans()
ANSWERS = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner))


@given(ANSWERS)
def test_whatever_a_backend_says_a_share_between_0_and_1_is_shown(answer):
    follower = Follower()
    for _ in range(2):
        shown, _ = follower.saw(answer)
        assert 0.01 <= shown.progress <= 0.99
        assert shown.job
        assert Shown.from_bytes(shown.to_bytes()) == shown


def test_a_preview_beyond_all_bounds_is_not_shown():
    follower = Follower()
    follower.saw(IDLE)
    follower.saw(running(1))
    assert follower.saw(running(2, image="A" * 700_000))[1] == ""


def test_no_job_is_told_in_the_words_that_clients_wait_for():
    answer = as_progress(OwnProgress(at=5.0))
    state = {
        "skipped": False, "interrupted": False, "stopping_generation": False, "job": "", "job_count": 0,
        "job_timestamp": "0", "job_no": 0, "sampling_step": 0, "sampling_steps": 0,
    }  # fmt: skip
    assert answer == {
        "id": "", "progress": 0.0, "eta_relative": 0.0, "state": state, "current_image": None, "textinfo": None,
    }  # fmt: skip


def test_a_waiting_job_is_told_as_under_way_with_its_place():
    own = OwnProgress("j1", position=3, waiting=12, queued=2, since=1_700_000_000.0, at=1_700_000_004.5, shown=Shown())
    answer = as_progress(own)
    assert (answer["progress"], answer["textinfo"]) == (0.01, "Queued 3 of 12")
    assert (answer["state"]["job"], answer["state"]["job_count"]) == ("queued", 1)
    assert answer["state"]["job_timestamp"] == "20231114221320"
    internal = as_internal_progress(own, -1)
    assert (internal["active"], internal["queued"], internal["completed"]) == (False, True, False)
    status = as_status(own)
    assert (status["status"], status["queued"], status["elapsed"]) == ("queued", 2, 4.5)


@pytest.mark.parametrize(
    ("in_s", "eta_s", "text"),
    [
        (7.4, 7.4, "Queued 1 of 1, starts in about 7 s"),
        (63.9, 63.9, "Queued 1 of 1, starts in about 65 s"),
        (-3.0, 0.0, "Queued 1 of 1, starts in about 1 s"),
    ],
)
def test_a_waiting_job_whose_start_is_foretold_says_when(in_s, eta_s, text):
    own = OwnProgress("j1", position=1, waiting=1, queued=1, since=90.0, at=100.0, starts_at=100.0 + in_s)
    answer, internal = as_progress(own), as_internal_progress(own, 0)
    assert (answer["eta_relative"], answer["textinfo"]) == (eta_s, text)
    assert (internal["eta"], internal["textinfo"]) == (eta_s, text)


@pytest.mark.parametrize(("preview", "expected"), [("AAAA", ("data:image/jpeg;base64,AAAA", 5)), ("", (None, 4))])
def test_the_web_pages_form_numbers_each_preview(preview, expected):
    own = OwnProgress("j1", shown=Shown(0.5, job="Inference"), preview=preview)
    answer = as_internal_progress(own, 4)
    assert (answer["live_preview"], answer["id_live_preview"]) == expected
    assert answer["active"]


def test_a_number_that_no_float_holds_and_a_secret_in_a_jobs_name_hurt_nobody():
    follower = Follower()
    follower.saw(IDLE)
    huge = running(1, job="load token=abcdefgh", sampling_steps=10**400) | {
        "progress": 10**400,
        "eta_relative": 10**400,
    }
    shown, _ = follower.saw(huge)
    assert (shown.job, shown.steps, shown.eta_s) == ("load token=[secret]", 0, 0.0)
