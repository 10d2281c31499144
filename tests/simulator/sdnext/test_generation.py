from __future__ import annotations

import asyncio

import pytest

from gateway.simulator.sdnext.simulation_options import SimulationOptions
from tests.simulator.support import STEPS_PER_SECOND, in_process, in_virtual_time, info, instant, last_line


@in_virtual_time
async def test_time_grows_with_steps_pixels_and_images() -> None:
    async with in_process(SimulationOptions(seconds_per_megapixel_step=10)) as backend:
        now, took = asyncio.get_running_loop().time, []
        for fields in ({}, {"steps": 8}, {"width": 128}, {"batch_size": 2}, {"n_iter": 2}):
            started = now()
            await backend.txt2img(**fields)
            took.append(now() - started)

    assert [round(seconds / took[0]) for seconds in took] == [1, 2, 2, 2, 2]


@in_virtual_time
async def test_a_second_pass_costs_its_steps() -> None:
    async with in_process(STEPS_PER_SECOND) as backend:
        hires = {"enable_hr": True, "hr_force": True, "hr_second_pass_steps": 6, "hr_denoising_strength": 0.4}
        started = asyncio.get_running_loop().time()
        reply = await backend.txt2img(**hires)

        assert asyncio.get_running_loop().time() - started == pytest.approx(10, abs=0.1)
        assert last_line(reply)["Hires steps"] == "6"


async def test_a_random_seed_is_another_one_each_time_and_told_in_info() -> None:
    async with in_process(instant()) as backend:
        seeds = {info(await backend.txt2img())["seed"] for _ in range(5)}

    assert len(seeds) == 5


async def test_an_always_on_script_that_exists_is_accepted_whatever_its_case() -> None:
    async with in_process(instant()) as backend:
        known = backend.simulation.facts.listings["scripts"]["txt2img"][0]

        assert (await backend.txt2img(alwayson_scripts={known.upper(): {"args": []}})).status_code == 200


async def test_images_that_were_not_wanted_are_made_and_not_sent() -> None:
    async with in_process(instant()) as backend:
        reply = await backend.txt2img(send_images=False)

        assert reply.json()["images"] == []
        assert len(info(reply)["infotexts"]) == 1
        assert backend.engine.counters.jobs == 1
