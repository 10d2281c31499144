from __future__ import annotations

import asyncio

import pytest

from gateway.simulator.sdnext.clock import LoopClock
from tests.simulator.support import in_virtual_time


@pytest.mark.parametrize(("scale", "real_s"), [(1.0, 10.0), (0.1, 1.0), (0.0, 0.0)])
@in_virtual_time
async def test_simulated_seconds_are_scaled_to_real_ones(scale: float, real_s: float) -> None:
    clock = LoopClock(scale)
    started = clock.now()
    await clock.sleep(10)

    assert clock.now() - started == pytest.approx(real_s)


@in_virtual_time
async def test_waiting_ends_with_the_event_or_with_the_time_and_says_which() -> None:
    clock, event = LoopClock(), asyncio.Event()
    asyncio.get_running_loop().call_later(5, event.set)

    assert await clock.wait(event, 3) is False
    assert await clock.wait(event, 3) is True
    assert clock.now() == pytest.approx(5)


@in_virtual_time
async def test_an_event_that_has_come_is_seen_even_when_no_time_is_left() -> None:
    event = asyncio.Event()
    event.set()

    assert await LoopClock(0).wait(event, 100) is True
