"""Interrupt and skip: whom they hit, what the victim gets, and when they are lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from PIL import ImageStat

from gateway.simulator.sdnext.simulation_options import SimulationOptions
from tests.simulator.recorded import facts_of, load_recordings
from tests.simulator.support import (
    STEPS_PER_SECOND,
    in_process,
    in_virtual_time,
    info,
    is_complete,
    last_line,
    picture,
    pictures,
)


def is_black(image: Any) -> bool:
    return ImageStat.Stat(image).extrema == [(0, 0)] * 3


async def _cut(backend: Any, how: str, after_s: float, **fields: Any) -> Any:
    """The reply to a job that was interrupted or skipped `after_s` seconds after it came."""
    async with asyncio.TaskGroup() as tasks:
        job = tasks.create_task(backend.txt2img(**fields))
        await asyncio.sleep(after_s)
        assert (await backend.post(how)).status_code == 204
    return job.result()


@in_virtual_time
async def test_an_interrupted_job_gets_200_with_one_black_512x512_frame_whatever_size_was_asked() -> None:
    async with in_process(STEPS_PER_SECOND) as backend:
        reply = await _cut(backend, "interrupt", 5, steps=150)
        black = picture(reply)

        assert (reply.status_code, black.size, is_black(black)) == (200, (512, 512), True)
        assert len(info(reply)["infotexts"]) == 2
        assert last_line(reply)["Size"] == "64x64"
        assert not is_complete(reply)


@pytest.mark.parametrize("name", ["interrupted-txt2img-response", "txt2img-steps-100000"])
@in_virtual_time
async def test_an_interrupted_reply_has_the_recorded_facts(name: str) -> None:
    recorded = load_recordings()[name]
    async with in_process(SimulationOptions()) as backend:
        is_png = recorded["facts"]["body"]["images"] == ["png"]
        await backend.post("options", {"samples_format": "png" if is_png else "jpg"})
        reply = await _cut(backend, "interrupt", 1, **recorded["request"]["body"])

        assert facts_of("/sdapi/v1/txt2img", 200, dict(reply.headers), reply.json()) == recorded["facts"]


@in_virtual_time
async def test_an_interrupted_batch_gets_one_black_grid() -> None:
    async with in_process(STEPS_PER_SECOND) as backend:
        reply = await _cut(backend, "interrupt", 5, steps=150, batch_size=2)

        assert picture(reply).size == (1024, 512)
        assert len(info(reply)["all_seeds"]) == 2
        assert not is_complete(reply)


@in_virtual_time
async def test_with_several_iterations_the_finished_pictures_come_with_one_black_frame() -> None:
    async with in_process(STEPS_PER_SECOND) as backend:
        reply = await _cut(backend, "interrupt", 15, steps=10, n_iter=3)

        assert [is_black(image) for image in pictures(reply)] == [False, True]
        assert info(reply)["infotexts"][-1].endswith("Index: 2x1")
        assert not is_complete(reply)


@in_virtual_time
async def test_an_interrupt_during_decoding_leaves_fewer_pictures_and_no_black_frame() -> None:
    async with in_process(SimulationOptions(seconds_per_megapixel_step=0)) as backend:
        async with asyncio.TaskGroup() as tasks:
            backend.engine.hold("decode")
            job = tasks.create_task(backend.txt2img(n_iter=3))
            await asyncio.sleep(1)
            assert (await backend.get("status")).json()["task"] == "VAE Decode"
            await backend.post("interrupt")
            backend.engine.release("decode")
        reply = job.result()

        assert [is_black(image) for image in pictures(reply)] == [False]
        assert len(info(reply)["all_seeds"]) == 3
        assert not is_complete(reply)


@in_virtual_time
async def test_an_interrupt_in_the_first_50_ms_leaves_nothing() -> None:
    async with in_process(STEPS_PER_SECOND) as backend:
        reply = await _cut(backend, "interrupt", 0.03, steps=150)

        assert (reply.status_code, reply.json()["images"]) == (200, [])
        assert not is_complete(reply)


@pytest.mark.parametrize("iterations", [1, 2])
@in_virtual_time
async def test_a_skipped_job_gets_200_without_images(iterations: int) -> None:
    async with in_process(STEPS_PER_SECOND) as backend:
        reply = await _cut(backend, "skip", 15, steps=10 * iterations + 10, n_iter=iterations)

        assert (reply.status_code, reply.json()["images"]) == (200, [])
        assert len(info(reply)["infotexts"]) == iterations
        assert not is_complete(reply)


@in_virtual_time
async def test_an_interrupt_hits_only_the_job_that_runs_not_the_next_in_the_queue() -> None:
    async with in_process(STEPS_PER_SECOND) as backend, asyncio.TaskGroup() as tasks:
        victim = tasks.create_task(backend.txt2img(steps=150))
        await asyncio.sleep(1)
        queued = tasks.create_task(backend.txt2img(steps=5))
        await asyncio.sleep(1)
        await backend.post("interrupt")

        assert not is_complete(await victim)
        assert is_complete(await queued)


@in_virtual_time
async def test_an_interrupt_while_a_checkpoint_loads_is_lost_and_the_job_runs_to_its_end() -> None:
    options = SimulationOptions(swap_seconds=20, seconds_per_megapixel_step=1 / 0.004096)
    async with in_process(options) as backend:
        reply = await _cut(backend, "interrupt", 10, steps=5, sd_model_checkpoint="tiny-b")

        assert is_complete(reply)


@in_virtual_time
async def test_an_interrupt_of_an_idle_server_only_shows_in_the_status_until_the_next_job() -> None:
    async with in_process(STEPS_PER_SECOND) as backend:
        await backend.post("interrupt")
        status = (await backend.get("status")).json()
        reply = await backend.txt2img()
        after = (await backend.get("status")).json()

        assert (status["status"], status["task"], status["timestamp"]) == ("interrupted", "", None)
        assert is_complete(reply)
        assert after["status"] == "idle"


@in_virtual_time
async def test_progress_says_interrupted_after_the_job_until_the_next_begins() -> None:
    async with in_process(STEPS_PER_SECOND) as backend:
        await _cut(backend, "interrupt", 5, steps=150)
        after = (await backend.get("progress")).json()["state"]["interrupted"]
        await backend.txt2img(steps=1)

        assert (after, (await backend.get("progress")).json()["state"]["interrupted"]) == (True, False)


@in_virtual_time
async def test_a_whole_answer_fulfils_the_rule_of_completeness_also_with_a_mask_in_it() -> None:
    async with in_process(STEPS_PER_SECOND) as backend:
        plain = await backend.txt2img(batch_size=2, n_iter=2)
        source = pictures(plain)[0]
        masked = await backend.img2img(source, mask=(await backend.txt2img()).json()["images"][0], include_mask=True)

        assert is_complete(plain)
        assert is_complete(masked)
        assert (len(masked.json()["images"]), len(info(masked)["all_seeds"])) == (2, 1)
