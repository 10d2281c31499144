from __future__ import annotations

import asyncio

import pytest


@pytest.mark.virtual_time
async def test_an_hour_of_sleep_passes_at_once_and_the_clock_says_an_hour():
    loop = asyncio.get_running_loop()
    before = loop.time()
    await asyncio.sleep(3600)
    assert loop.time() - before == pytest.approx(3600)


@pytest.mark.virtual_time
async def test_timers_fire_in_their_order_at_their_time():
    loop, seen = asyncio.get_running_loop(), []

    async def sleeper(seconds):
        await asyncio.sleep(seconds)
        seen.append((seconds, round(loop.time(), 6)))

    async with asyncio.TaskGroup() as group:
        for seconds in (3, 1, 2):
            group.create_task(sleeper(seconds))
    assert seen == [(1, 1.0), (2, 2.0), (3, 3.0)]


@pytest.mark.virtual_time
async def test_a_timeout_fires_in_virtual_time():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await asyncio.Event().wait()
    assert asyncio.get_running_loop().time() == pytest.approx(60)


def test_a_wait_that_nothing_can_end_is_a_failure_at_once():
    from tests.support.virtual_time import VirtualTimeLoop

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner, pytest.raises(RuntimeError, match="deadlock"):
        runner.run(asyncio.Event().wait())


@pytest.mark.hand_set_time
async def test_a_clock_set_by_hand_stands_still_jumps_and_runs_on():
    loop, rung = asyncio.get_running_loop(), asyncio.Event()
    loop.stop_clock()
    stood_at = loop.time()
    loop.call_later(30.0, rung.set)
    for _ in range(100):
        await asyncio.sleep(0)
    assert (loop.time(), rung.is_set()) == (stood_at, False)
    loop.put_forward(31.0)
    await rung.wait()
    assert loop.time() == stood_at + 31.0
    loop.let_run()
    assert loop.time() - stood_at == pytest.approx(31.0, abs=1.0)
    runs = asyncio.Event()
    loop.call_later(0.001, runs.set)
    await runs.wait()
