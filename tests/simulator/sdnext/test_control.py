from __future__ import annotations

import asyncio

import pytest

from tests.simulator.support import A, B, in_process, instant, on_a_socket, until


async def test_the_state_tells_what_is_loaded_and_what_was_done() -> None:
    async with in_process(instant(loras=("inky",))) as backend:
        await backend.txt2img(sd_model_checkpoint=B, prompt="<lora:inky:0.5>")
        state = (await backend.http.get("/__sim/state")).json()

        assert state == {
            "loaded": {"title": B, "poisoned": False, "fused": [["inky", 0.5]], "damage": []},
            "files": [A, B],
            "loras": ["inky"],
            "loads": 1,
            "damaged": False,
            "jobs": 1,
            "waiting_or_running": 0,
            "most_waiting_or_running": 1,
            "in_flight": 0,
            "most_in_flight": 1,
        }


async def test_a_phase_is_held_and_released_over_http() -> None:
    async with on_a_socket(instant()) as (backend, _), asyncio.TaskGroup() as tasks:
        await backend.http.post("/__sim/hold", params={"phase": "inference"})
        job = tasks.create_task(backend.txt2img())
        await until(lambda: backend.engine.state.task == "Inference")
        assert not job.done()
        released = await backend.http.delete("/__sim/hold", params={"phase": "inference"})
        again = await backend.http.delete("/__sim/hold", params={"phase": "inference"})

        assert (released.status_code, again.status_code) == (204, 404)
        assert len((await job).json()["images"]) == 1


async def test_files_appear_and_vanish_over_http() -> None:
    async with in_process(instant()) as backend:
        await backend.http.post("/__sim/files", params={"title": "Diffusers/new"})
        await backend.http.post("/__sim/files", params={"title": "inky", "kind": "lora"})
        await backend.http.delete("/__sim/files", params={"title": B})
        state = (await backend.http.get("/__sim/state")).json()
        unknown = await backend.http.delete("/__sim/files", params={"title": "Diffusers/none"})

        assert (state["files"], state["loras"], unknown.status_code) == (["Diffusers/new", A], ["inky"], 404)


@pytest.mark.parametrize("is_loaded", [True, False])
async def test_what_is_loaded_can_be_poisoned(is_loaded: bool) -> None:
    async with in_process(instant()) as backend:
        if not is_loaded:
            await backend.post("unload-checkpoint")
        reply = await backend.http.post("/__sim/poison")

        assert reply.status_code == (204 if is_loaded else 409)
        if is_loaded:
            assert (await backend.txt2img()).json()["images"] == []
