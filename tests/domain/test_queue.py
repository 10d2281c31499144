"""Why a job waits, and why it went where it went."""

from __future__ import annotations

from gateway.domain.queue import MOST_NAMED, BackendLine, decision, reasons_for

POOL = {
    line.name: line
    for line in (
        BackendLine("busy", "up", "red", "j1", "t1", 5.0),
        BackendLine("down", "down", "red"),
        BackendLine("lost", "up", "red", "j2", "", 5.0, is_recovering=True),
        BackendLine("other", "up", "blue"),
        BackendLine("empty", "up", ""),
        BackendLine("ready", "up", "red"),
    )
}


def test_each_backend_that_could_run_a_job_has_its_reason():
    assert reasons_for("red", [*POOL, "new"], POOL) == {
        "busy": "busy",
        "down": "down",
        "empty": "has nothing loaded",
        "lost": "recovering",
        "new": "not seen yet",
        "other": "has blue loaded",
        "ready": "free: next",
    }


def test_a_job_for_which_any_checkpoint_will_do_is_kept_from_no_free_backend():
    assert reasons_for("", ["other", "empty"], POOL) == {"other": "free: next", "empty": "free: next"}


def test_a_decision_names_the_wait_the_swap_and_what_kept_the_others():
    assert decision("red", ["other", "busy", "down"], "other", POOL, 3.21) == (
        "other after 3.2 s, swap from blue; not busy busy, down down"
    )
    assert decision("red", ["empty"], "empty", POOL, 0.0) == "empty after 0.0 s, swap from nothing; no other can run it"
    assert (
        decision("red", ["ready", "other"], "ready", POOL, 1.0)
        == "ready after 1.0 s, no swap; not other has blue loaded"
    )


def test_a_decision_in_a_large_pool_stays_one_sentence():
    pool = {f"b{number:03}": BackendLine(f"b{number:03}", "down", "") for number in range(200)}
    text = decision("red", pool, "b000", pool, 1.0)
    assert text.endswith(f"and {199 - MOST_NAMED} more")
    assert len(text) < 300
