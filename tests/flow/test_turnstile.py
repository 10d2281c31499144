"""How many calls are on their way in at once."""

from __future__ import annotations

import asyncio

import pytest

from gateway.flow.turnstile import Turnstile

pytestmark = pytest.mark.virtual_time


async def test_only_so_many_are_inside_at_a_time_and_the_others_follow_in_order():
    turnstile, inside, order, most = Turnstile(2), set(), [], 0

    async def call(number: int) -> None:
        nonlocal most
        async with turnstile.turn():
            inside.add(number)
            order.append(number)
            most = max(most, len(inside))
            await asyncio.sleep(1)
            inside.discard(number)

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(call(number))
    assert (most, order) == (2, [0, 1, 2, 3, 4, 5])


async def test_a_turn_can_be_over_before_its_block_is():
    turnstile = Turnstile(1)
    async with turnstile.turn() as over:
        over()
        async with asyncio.timeout(1), turnstile.turn():
            pass


async def test_a_call_that_fails_or_is_cancelled_lets_the_next_one_in_and_only_one():
    turnstile = Turnstile(1)

    async def fails() -> None:
        async with turnstile.turn() as over:
            over()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await fails()
    async with turnstile.turn():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), turnstile.turn():
                raise AssertionError("two at once")
