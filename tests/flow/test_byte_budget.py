"""The byte budget in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import NoCapacity
from gateway.flow.byte_budget import WAIT_S, ByteBudget, Held

pytestmark = pytest.mark.virtual_time


async def let_others_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_body_that_does_not_fit_waits_until_another_call_gives_its_bytes_back():
    budget = ByteBudget(100)
    first = await budget.take("a", 40)
    await budget.take("b", 50)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(budget.take("c", 30))
        await let_others_run()
        assert not waiting.done()
        first.give_back()
    assert (waiting.result().size, budget.used) == (30, 80)


async def test_a_body_that_finds_no_room_is_refused_after_five_seconds_with_a_time_to_come_back():
    budget = ByteBudget(100)
    await budget.take("a", 50)
    await budget.take("b", 50)
    began = asyncio.get_running_loop().time()
    with pytest.raises(NoCapacity) as refused:
        await budget.take("c", 1)
    assert asyncio.get_running_loop().time() - began == pytest.approx(WAIT_S)
    assert (refused.value.retry_after_s, budget.used) == (WAIT_S, 100)


async def test_a_tenant_at_its_half_waits_while_another_is_let_in_behind_it():
    budget = ByteBudget(100)
    held = await budget.take("a", 50)
    async with asyncio.TaskGroup() as group:
        same = group.create_task(budget.take("a", 10))
        await let_others_run()
        await budget.take("b", 40)
        assert not same.done()
        held.give_back()
    assert budget.used == 50


async def test_a_large_body_is_not_passed_by_small_ones_for_ever():
    budget = ByteBudget(100)
    held = [await budget.take("a", 40), await budget.take("b", 40)]
    async with asyncio.TaskGroup() as group:
        large = group.create_task(budget.take("c", 50))
        await let_others_run()
        small = group.create_task(budget.take("d", 10))
        await let_others_run()
        assert not small.done()
        held[0].give_back()
    assert (large.result().size, small.result().size, budget.used) == (50, 10, 100)


async def test_a_call_that_stands_alone_is_let_in_whatever_its_size():
    budget = ByteBudget(100)
    alone = await budget.take("a", 500)
    alone.give_back()
    assert budget.used == 0


async def test_an_expected_answer_is_counted_and_never_waits():
    budget = ByteBudget(100)
    await budget.take("a", 90)
    with budget.expecting(50):
        assert budget.used == 140
    assert budget.used == 90


async def test_a_caller_who_leaves_while_waiting_holds_nothing():
    budget = ByteBudget(100)
    held = await budget.take("a", 100)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(budget.take("b", 10))
        await let_others_run()
        waiting.cancel()
    held.give_back()
    assert budget.used == 0


async def test_a_caller_who_leaves_in_the_very_turn_it_is_let_in_holds_nothing():
    budget = ByteBudget(100)
    held = await budget.take("a", 100)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(budget.take("b", 10))
        await let_others_run()
        held.give_back()
        waiting.cancel()
    assert budget.used == 0


async def test_giving_back_twice_gives_back_once():
    budget = ByteBudget(100)
    other, held = await budget.take("a", 10), await budget.take("a", 30)
    held.give_back()
    held.give_back()
    assert (budget.used, other.size) == (10, 10)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 60), st.booleans()), max_size=40))
def test_whatever_is_asked_the_budget_and_each_tenants_half_hold_and_all_comes_back(steps):
    async def history() -> None:
        budget, held = ByteBudget(100), list[tuple[str, Held]]()
        for tenant, size, is_leaving in steps:
            if is_leaving and held:
                held.pop(0)[1].give_back()
            task = asyncio.ensure_future(budget.take(tenant, size))
            await let_others_run()
            if task.done():
                held.append((tenant, task.result()))
            else:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            sizes = [one.size for _, one in held]
            assert budget.used == sum(sizes)
            assert len(sizes) <= 1 or sum(sizes) <= 100
            for name in "abc":
                own = [one.size for owner, one in held if owner == name]
                assert len(own) <= 1 or sum(own) <= 50
        for _, one in held:
            one.give_back()
        assert budget.used == 0

    asyncio.run(history())
