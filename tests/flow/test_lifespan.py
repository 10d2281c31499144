"""What goes on beside the calls."""

from __future__ import annotations

import asyncio

import pytest

from gateway.flow.lifespan import meanwhile, running
from gateway.flow.supervise import Supervisor

pytestmark = pytest.mark.virtual_time


async def test_loops_that_cannot_be_kept_running_end_the_process():
    ended = []

    async def fails():
        raise ValueError("broken")

    supervisor = Supervisor(lambda _name, _error: None)
    supervisor.add("hopeless", fails)
    async with running(supervisor, ended.append):
        await asyncio.sleep(60)
    assert ended == ["loop hopeless failed 5 times within 60 s"]


async def test_work_goes_on_beside_the_block_and_ends_with_it():
    steps = []

    async def work():
        try:
            while True:
                steps.append(1)
                await asyncio.sleep(1)
        finally:
            steps.append("ended")

    async with meanwhile(work, ValueError, steps.append):
        await asyncio.sleep(2.5)
    assert steps == [1, 1, 1, "ended"]


async def test_work_that_is_done_leaves_the_block_alone_and_an_error_that_is_not_meant_ends_it():
    async def done():
        pass

    async def broken():
        raise KeyError("x")

    async with meanwhile(done, ValueError, pytest.fail):
        await asyncio.sleep(1)
    with pytest.raises(ExceptionGroup):
        async with meanwhile(broken, ValueError, pytest.fail):
            await asyncio.sleep(1)
