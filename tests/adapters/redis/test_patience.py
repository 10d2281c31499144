"""Waits that count only time in which the loop turned."""

from __future__ import annotations

import asyncio

import pytest

from gateway.adapters.redis.patience import Patience


@pytest.mark.virtual_time
@pytest.mark.parametrize("seconds", [0.0, 0.2, 3.0])
async def test_on_a_free_loop_a_limit_is_what_it_says(seconds):
    patience, loop = Patience(), asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(TimeoutError):
        async with patience.limit(seconds):
            await asyncio.Event().wait()
    assert loop.time() - began == pytest.approx(seconds, abs=0.05)


@pytest.mark.virtual_time
async def test_each_wait_has_its_own_limit_and_the_timer_rests_when_nobody_waits():
    patience, ended = Patience(), []

    async def wait(seconds):
        with pytest.raises(TimeoutError):
            async with patience.limit(seconds):
                await asyncio.Event().wait()
        ended.append(seconds)

    async with asyncio.TaskGroup() as group:
        for seconds in (0.9, 0.3, 0.6):
            group.create_task(wait(seconds))
    assert ended == [0.3, 0.6, 0.9]
    async with patience.limit(5.0):
        assert not patience.is_resting
    await asyncio.sleep(0.1)
    assert patience.is_resting


@pytest.mark.virtual_time
async def test_a_wait_that_takes_long_to_clean_up_takes_nobody_elses_limit_away():
    patience, loop = Patience(), asyncio.get_running_loop()

    async def work(cleaning_s):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(cleaning_s)

    async def wait(seconds, cleaning_s):
        with pytest.raises(TimeoutError):
            async with patience.limit(seconds):
                await work(cleaning_s)

    began = loop.time()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(wait(0.2, cleaning_s=1.0))
        group.create_task(wait(0.5, cleaning_s=0.0))
    assert loop.time() - began == pytest.approx(1.2, abs=0.05)
    await asyncio.sleep(0.1)
    assert patience.is_resting


@pytest.mark.virtual_time
async def test_what_ends_in_time_and_what_fails_pass_through():
    patience = Patience()
    async with patience.limit(1.0):
        await asyncio.sleep(0.5)
    with pytest.raises(ValueError, match="mine"):
        async with patience.limit(1.0):
            raise ValueError("mine")


@pytest.mark.virtual_time
async def test_time_in_which_the_loop_was_busy_counts_little():
    patience, answered = Patience(), asyncio.Event()

    async def wait() -> bool:
        async with patience.limit(0.3):
            await answered.wait()
        return True

    waiting = asyncio.ensure_future(wait())
    await asyncio.sleep(0.1)
    assert not patience.is_resting
    asyncio.get_running_loop().now += 1.0  # one call of something else took that long
    await asyncio.sleep(0)
    answered.set()
    assert await waiting
