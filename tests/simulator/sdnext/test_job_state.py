from __future__ import annotations

import asyncio

from gateway.simulator.sdnext.clock import LoopClock
from gateway.simulator.sdnext.job_state import JobState
from tests.simulator.support import in_virtual_time


@in_virtual_time
async def test_steps_are_told_from_the_time_that_passed_and_never_exceed_their_number() -> None:
    state = JobState(LoopClock())
    state.begin("Inference", steps=10, step_s=2.0)
    seen = []
    for _ in range(4):
        seen.append((state.step, state.fraction))
        await asyncio.sleep(7)

    assert seen == [(0, 0.0), (3, 0.3), (7, 0.7), (10, 1.0)]


@in_virtual_time
async def test_an_idle_state_says_nothing_of_the_last_job_but_its_timestamp() -> None:
    state = JobState(LoopClock())
    state.begin_job("API-TXT")
    state.end()
    progress = state.progress(None)

    assert (progress["id"], progress["state"]["job"], progress["eta_relative"]) == ("", "", 0.0)
    assert len(progress["state"]["job_timestamp"]) == 14
    assert state.status()["timestamp"] is None


@in_virtual_time
async def test_each_stage_leaves_a_beginning_and_an_end_in_the_history() -> None:
    state = JobState(LoopClock())
    state.begin("Load model")
    await asyncio.sleep(3)
    state.begin("Inference")
    state.end()

    ops = [(entry["job"], entry["op"], entry["duration"]) for entry in state.history]
    assert ops == [
        ("load model", "begin", None),
        ("load model", "end", 3.0),
        ("inference", "begin", None),
        ("inference", "end", 0.0),
    ]
    assert state.history[0]["id"] == state.history[1]["id"] != state.history[2]["id"]
