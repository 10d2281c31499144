"""One lock, in order of arrival; 40 threads; a rate limit that wastes the work; clients that leave change nothing."""

from __future__ import annotations

import asyncio

import pytest

from gateway.simulator.sdnext.simulation_options import SimulationOptions
from tests.simulator.support import (
    SMALL,
    STEPS_PER_SECOND,
    B,
    as_base64,
    in_process,
    in_virtual_time,
    instant,
    on_a_socket,
    pictures,
    until,
)


@in_virtual_time
async def test_jobs_run_strictly_one_at_a_time_in_the_order_of_arrival() -> None:
    async with in_process(STEPS_PER_SECOND) as backend, asyncio.TaskGroup() as tasks:
        ended: list[tuple[int, float]] = []

        async def job(number: int) -> None:
            await backend.txt2img(steps=10)
            ended.append((number, asyncio.get_running_loop().time()))

        for number in range(5):
            tasks.create_task(job(number))

    assert [number for number, _ in ended] == [0, 1, 2, 3, 4]
    assert [round(at) for _, at in ended] == [10, 20, 30, 40, 50]


@in_virtual_time
async def test_upscales_and_the_model_option_wait_behind_a_generation() -> None:
    options = SimulationOptions(seconds_per_megapixel_step=1 / 0.004096, upscalers="fixed")
    async with in_process(options) as backend, asyncio.TaskGroup() as tasks:
        now = asyncio.get_running_loop().time
        image = as_base64(pictures(await backend.txt2img(steps=1))[0])
        started = now()
        tasks.create_task(backend.txt2img(steps=30))
        await asyncio.sleep(0)
        upscale = tasks.create_task(backend.post("extra-single-image", {"image": image, "upscaler_1": "Resize Box"}))
        change = tasks.create_task(backend.post("options", {"sd_model_checkpoint": B}))
        await asyncio.wait([upscale, change], return_when=asyncio.FIRST_COMPLETED)

        assert now() - started >= 30


@pytest.mark.parametrize(("in_flight", "answers"), [(39, True), (40, False)])
async def test_with_40_requests_waiting_even_the_status_hangs(in_flight: int, answers: bool) -> None:
    async with on_a_socket(instant()) as (backend, server), asyncio.TaskGroup() as tasks:
        backend.engine.hold("inference")
        jobs = [tasks.create_task(backend.txt2img()) for _ in range(in_flight)]
        await until(lambda: backend.engine.counters.in_flight == in_flight)
        status = tasks.create_task(backend.get("status"))
        # The list of what was received is not one of the server's own routes and needs none of its threads.
        await until(lambda: any(each["path"].endswith("status") for each in server.simulation.received.listing()))
        if answers:
            assert (await status).json()["queued"] == 0
        else:
            assert (await backend.http.get("/__sim/state")).json()["in_flight"] == 40
            assert not status.done()
        backend.engine.release("inference")
        await asyncio.gather(*jobs)

        assert (await status).status_code == 200


async def test_nothing_is_ever_refused_for_being_busy() -> None:
    async with on_a_socket(instant()) as (backend, _):
        backend.engine.server_options.set("server_rate_limit", 0)
        replies = await asyncio.gather(*(backend.txt2img() for _ in range(75)))

    assert [len(reply.json()["images"]) for reply in replies] == [1] * 75


async def test_a_job_whose_client_has_gone_runs_to_its_end_also_when_it_was_only_queued() -> None:
    async with on_a_socket(instant()) as (backend, server):
        backend.engine.hold("inference")
        jobs = [asyncio.ensure_future(backend.txt2img()) for _ in range(2)]
        await until(lambda: backend.engine.counters.in_flight == 2)
        for job in jobs:
            job.cancel()
        await asyncio.wait(jobs)
        backend.engine.release("inference")
        await until(lambda: backend.engine.counters.in_flight == 0)

        assert backend.engine.counters.jobs == 2
        assert [each["status"] for each in server.simulation.received.listing("/sdapi/v1/txt2img")] == [200, 200]


# --- the rate limit ---------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_sixty_generations_a_minute_from_one_address_then_429_after_the_work() -> None:
    async with in_process(instant()) as backend:
        replies = [await backend.txt2img() for _ in range(61)]

        assert [reply.status_code for reply in replies] == [200] * 60 + [429]
        assert replies[-1].json()["detail"] == "127.0.0.1:/sdapi/v1/txt2img: rate limit exceeded"
        assert backend.engine.counters.jobs == 61


@in_virtual_time
async def test_over_the_rate_limit_a_failure_is_429_too() -> None:
    async with in_process(instant()) as backend:
        await backend.post("options", {"server_rate_limit": 10})
        codes = [(await backend.txt2img(sampler_name="nope")).status_code for _ in range(3)]

    assert codes == [404, 404, 429]


@in_virtual_time
async def test_over_the_rate_limit_200_and_429_alternate_as_the_minute_slides() -> None:
    async with in_process(instant()) as backend:
        codes = []
        for _ in range(240):
            codes.append((await backend.txt2img()).status_code)
            await asyncio.sleep(0.5)

    over = codes[120:]
    assert 55 <= over.count(200) <= 65
    assert over.count(429) >= 50


@in_virtual_time
async def test_each_path_has_its_own_limit_and_other_paths_cost_one_of_300() -> None:
    async with in_process(instant()) as backend:
        codes = [(await backend.get("status")).status_code for _ in range(301)]
        other = await backend.get("progress")

    assert codes == [200] * 300 + [429]
    assert other.status_code == 200


@in_virtual_time
async def test_the_option_server_rate_limit_0_ends_the_limit() -> None:
    async with in_process(instant()) as backend:
        await backend.post("options", {"server_rate_limit": 0})

        assert {(await backend.txt2img()).status_code for _ in range(70)} == {200}


@in_virtual_time
async def test_any_request_can_set_the_rate_limit_for_all_by_an_override_that_stays() -> None:
    async with in_process(instant()) as backend:
        overriding = {"override_settings": {"server_rate_limit": 7}, "override_settings_restore_afterwards": False}
        first = await backend.txt2img(**overriding)
        second = await backend.txt2img()

        assert (first.status_code, second.status_code) == (200, 429)
        assert (await backend.get("options")).json()["server_rate_limit"] == 7


def test_the_body_of_these_tests_takes_one_second_a_step() -> None:
    assert STEPS_PER_SECOND.seconds_per_megapixel_step * SMALL["width"] * SMALL["height"] / 1e6 == 1.0
