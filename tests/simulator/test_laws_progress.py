"""Progress and status, and what is untrue in them."""

from __future__ import annotations

import asyncio

from gateway.simulator.sdnext.simulation_options import SimulationOptions
from tests.simulator.recorded import facts_of, load_recordings
from tests.simulator.support import STEPS_PER_SECOND, in_process, in_virtual_time, instant, on_a_socket, until

RECORDED_STATE = {
    "skipped": False,
    "interrupted": False,
    "job": "Inference",
    "job_count": 1,
    "job_no": 0,
    "sampling_step": 41,
    "sampling_steps": 150,
}


@in_virtual_time
async def test_progress_counts_the_steps_and_estimates_the_rest() -> None:
    async with in_process(STEPS_PER_SECOND) as backend, asyncio.TaskGroup() as tasks:
        tasks.create_task(backend.txt2img(steps=150))
        await asyncio.sleep(41.5)
        progress = (await backend.get("progress", skip_current_image=True)).json()
        status = (await backend.get("status")).json()

        assert progress["progress"] == 0.27
        assert {name: progress["state"][name] for name in RECORDED_STATE} == RECORDED_STATE
        assert 100 < progress["eta_relative"] < 112
        assert (status["step"], status["steps"], status["progress"], status["queued"]) == (41, 150, 0.27, 0)


@in_virtual_time
async def test_every_poll_of_a_running_job_has_the_recorded_shape() -> None:
    async with in_process(STEPS_PER_SECOND) as backend, asyncio.TaskGroup() as tasks:
        tasks.create_task(backend.txt2img(steps=10))
        await asyncio.sleep(5.5)
        progress, status = await backend.get("progress", skip_current_image=True), await backend.get("status")
        internal = await backend.http.post("/internal/progress", json={"id_task": "undefined"})

    recorded = load_recordings()["progress-with-preview"]["facts"]
    live = facts_of("/sdapi/v1/progress", 200, dict(progress.headers), progress.json())
    assert list(live["body"]) == list(recorded["body"])
    assert list(live["body"]["state"]) == list(recorded["body"]["state"])
    assert list(status.json()) == list(load_recordings()["status-idle-before"]["facts"]["body"])
    assert internal.json() == {
        "job": "Inference",
        "textinfo": None,
        "active": True,
        "queued": False,
        "paused": False,
        "completed": False,
        "debug": False,
        "step": 5,
        "steps": 10,
        "batch_no": 0,
        "batch_count": 0,
        "progress": 0.5,
        "eta": internal.json()["eta"],
        "live_preview": None,
        "id_live_preview": 1,
    }


async def test_anybody_gets_a_preview_of_whoevers_picture_is_being_made_unless_it_is_declined() -> None:
    async with on_a_socket(instant()) as (backend, _), asyncio.TaskGroup() as tasks:
        backend.engine.hold("inference")
        tasks.create_task(backend.txt2img(prompt="somebody's secret"))
        await until(lambda: backend.engine.state.task == "Inference")
        asked, declined = await backend.get("progress"), await backend.get("progress", skip_current_image=True)
        backend.engine.release("inference")

        assert asked.json()["current_image"].startswith("/9j/")
        assert declined.json()["current_image"] is None


@in_virtual_time
async def test_queued_stays_0_however_many_wait_and_a_job_has_another_id_in_each_stage() -> None:
    async with in_process(STEPS_PER_SECOND) as backend, asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(backend.txt2img(steps=2, sd_model_checkpoint="tiny-b"))
        seen: list[tuple[str, str, int]] = []
        while len(seen) < 200:
            status = (await backend.get("status")).json()
            seen.append((status["task"], status["id"], status["queued"]))
            await asyncio.sleep(0.07)

    assert {queued for _, _, queued in seen} == {0}
    assert {"Load model", "Inference"} <= {task for task, _, _ in seen}
    assert len({job for task, job, _ in seen if task}) >= 4


async def test_a_job_that_fails_inside_leaves_the_status_running_until_the_next_one_ends() -> None:
    async with in_process(instant()) as backend:
        await backend.txt2img(alwayson_scripts={"ADetailer": {"args": []}})
        lying = (await backend.get("status")).json()
        await backend.txt2img()
        true = (await backend.get("status")).json()

        assert (lying["status"], lying["task"]) == ("running", "API-TXT")
        assert (true["status"], true["task"]) == ("idle", "")


@in_virtual_time
async def test_while_a_checkpoint_loads_every_route_stalls_for_a_moment() -> None:
    async with in_process(SimulationOptions(swap_seconds=20)) as backend, asyncio.TaskGroup() as tasks:
        tasks.create_task(backend.txt2img(sd_model_checkpoint="tiny-b"))
        await asyncio.sleep(0.01)
        asked = asyncio.get_running_loop().time()
        await backend.get("sd-models")

        assert 0.5 < asyncio.get_running_loop().time() - asked <= 0.95
