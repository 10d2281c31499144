"""The byte budget in virtual time; one kB here is `KB` bytes, above what is always let in."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import NoCapacity
from gateway.flow.byte_budget import (
    MOST_ARRIVING_OF_SENDER,
    MOST_ARRIVING_OF_TENANT,
    SMALL_BYTES,
    WAIT_S,
    ByteBudget,
    Held,
)

pytestmark = pytest.mark.virtual_time
KB = SMALL_BYTES * 2


async def let_others_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def call(budget: ByteBudget, tenant: str = "a", sender: str = "key") -> Held:
    held = budget.call()
    held.belongs_to(tenant, sender)
    return held


async def body(budget: ByteBudget, tenant: str, size: int, *, is_last: bool = True) -> Held:
    held = call(budget, tenant)
    await held.add(size, is_last=is_last)
    return held


async def refused(held: Held, size: int) -> bool:
    try:
        await held.add(size, is_last=False)
    except NoCapacity:
        return True
    return False


async def test_a_piece_that_does_not_fit_waits_until_another_call_gives_its_bytes_back():
    budget = ByteBudget(100 * KB)
    first = await body(budget, "a", 40 * KB)
    second = await body(budget, "b", 20 * KB)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(second.add(20 * KB, is_last=True))
        await let_others_run()
        assert (waiting.done(), budget.waiting) == (False, 1)
        first.give_back()
    assert (second.size, budget.used, budget.waiting) == (40 * KB, 40 * KB, 0)


async def test_a_piece_that_finds_no_room_is_refused_after_five_seconds_with_a_time_to_come_back():
    budget = ByteBudget(100 * KB)
    await body(budget, "a", 50 * KB)
    began, late = asyncio.get_running_loop().time(), call(budget)
    with pytest.raises(NoCapacity) as caught:
        await late.add(KB, is_last=True)
    assert asyncio.get_running_loop().time() - began == pytest.approx(WAIT_S)
    assert (caught.value.retry_after_s, budget.used, late.size) == (WAIT_S, 50 * KB, 0)


async def test_two_tenants_with_all_they_may_have_leave_room_for_a_third():
    budget = ByteBudget(120 * KB)
    await body(budget, "a", 60 * KB)
    for _ in range(30):
        await body(budget, "b", KB)
    await body(budget, "c", 15 * KB)
    assert budget.used <= 120 * KB


async def test_two_tenants_who_announce_large_bodies_and_send_a_byte_each_take_two_bytes():
    budget = ByteBudget(64_000_000)
    for tenant in "ab":
        await body(budget, tenant, 1, is_last=False)
    assert budget.used == 2
    await body(budget, "c", 30_000_000)


async def test_a_call_without_pictures_is_let_in_whatever_others_hold():
    budget = ByteBudget(100 * KB)
    full = await body(budget, "a", 50 * KB)
    full.expect(500 * KB)
    small = await body(budget, "a", SMALL_BYTES)
    assert small.size == SMALL_BYTES


async def test_bodies_stuck_half_sent_are_refused_newest_first_and_only_until_the_others_have_room():
    budget = ByteBudget(80 * KB)
    calls = [await body(budget, "a", 10 * KB, is_last=False) for _ in range(4)]
    outcomes = await asyncio.gather(*(refused(held, 10 * KB) for held in calls))
    assert outcomes == [False, False, True, True]
    assert budget.used == 40 * KB


async def test_a_body_waits_five_seconds_in_all_and_not_for_each_of_its_pieces():
    budget, began = ByteBudget(80 * KB), asyncio.get_running_loop().time()
    calls = [await body(budget, "a", 4 * KB, is_last=False) for _ in range(10)]

    async def send(held: Held) -> bool:
        for _ in range(6):
            if await refused(held, KB):
                return True
        return False

    outcomes = await asyncio.gather(*(send(held) for held in calls))
    assert outcomes == [False] * 4 + [True] * 6
    assert asyncio.get_running_loop().time() - began <= WAIT_S + 0.1


async def test_the_older_of_a_tenants_calls_is_not_passed_by_younger_ones():
    budget = ByteBudget(80 * KB)
    older, younger, filling = call(budget), call(budget), await body(budget, "a", 30 * KB)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(older.add(20 * KB, is_last=True))
        await let_others_run()
        second = group.create_task(younger.add(5 * KB, is_last=True))
        await let_others_run()
        assert (first.done(), second.done()) == (False, False)
        filling.give_back()
    assert budget.used == 25 * KB


@pytest.mark.parametrize(
    ("senders", "most"), [(["key"], MOST_ARRIVING_OF_SENDER), (["k1", "k2", "k3"], MOST_ARRIVING_OF_TENANT)]
)
async def test_only_so_many_bodies_of_a_tenant_and_of_a_sender_are_under_way(senders, most):
    budget = ByteBudget()
    under_way = [call(budget, "a", senders[number % len(senders)]) for number in range(most)]
    for held in under_way:
        await held.add(1, is_last=False)
    async with asyncio.TaskGroup() as group:
        beyond = group.create_task(call(budget, "a", senders[0]).add(1, is_last=False))
        await let_others_run()
        assert not beyond.done()
        await call(budget, "a", senders[0]).add(SMALL_BYTES, is_last=True)  # whole at once: it was never under way
        await call(budget, "b", senders[0]).add(1, is_last=False)
        await under_way[0].add(0, is_last=True)
    assert budget.used == most + SMALL_BYTES + 2


async def test_an_answer_under_way_is_counted_with_the_most_it_can_be_then_as_it_is():
    budget = ByteBudget(100 * KB)
    held = await body(budget, "a", 40 * KB)
    held.expect(100 * KB)
    assert budget.used == 140 * KB
    held.answered(30 * KB)
    assert budget.used == 70 * KB
    held.sending(10 * KB)
    assert budget.used == 30 * KB, "its body is not needed any more"
    held.give_back()
    assert budget.used == 0


async def test_who_does_not_read_its_answers_gets_no_further_ones_and_others_do():
    budget = ByteBudget(100 * KB)
    slow = call(budget)
    slow.expect(60 * KB)
    slow.answered(60 * KB)
    slow.sending(60 * KB)
    with pytest.raises(NoCapacity, match="not been read"):
        call(budget).expect(KB)
    call(budget, "b").expect(KB)
    slow.give_back()
    call(budget).expect(KB)


async def test_a_caller_who_leaves_while_waiting_holds_nothing():
    budget = ByteBudget(100 * KB)
    full, leaving = await body(budget, "a", 50 * KB), call(budget)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(leaving.add(10 * KB, is_last=False))
        await let_others_run()
        waiting.cancel()
    full.give_back()
    leaving.give_back()
    assert (budget.used, budget.waiting) == (0, 0)


async def test_a_caller_who_leaves_in_the_very_turn_it_is_let_in_holds_nothing():
    budget = ByteBudget(100 * KB)
    full, leaving = await body(budget, "a", 50 * KB), call(budget)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(leaving.add(10 * KB, is_last=False))
        await let_others_run()
        full.give_back()
        waiting.cancel()
    leaving.give_back()
    assert budget.used == 0


async def test_giving_back_twice_gives_back_once():
    budget = ByteBudget(100 * KB)
    other, held = await body(budget, "a", KB), await body(budget, "a", 3 * KB)
    held.give_back()
    held.give_back()
    assert (budget.used, other.size) == (KB, KB)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "grow", "end", "leave", "answer", "send"]),
        st.integers(0, 7),
        st.sampled_from([1, SMALL_BYTES, KB, 9 * KB, 33 * KB]),
    ),
    max_size=60,
)


class History:
    """Calls of four tenants that do as the steps say."""

    def __init__(self) -> None:
        self.total = 100 * KB
        self.budget = ByteBudget(self.total)
        self.calls: list[Held] = []
        self.tasks: list[asyncio.Task[None]] = []

    def take(self, step: str, number: int, size: int) -> None:
        if step == "begin" or not self.calls:
            self.calls.append(call(self.budget, "abcd"[number % 4]))
            return
        held = self.calls[number % len(self.calls)]
        if step in ("grow", "end"):
            self.tasks.append(asyncio.ensure_future(held.add(size, is_last=step == "end")))
        else:
            {"leave": lambda _: held.give_back(), "answer": held.answered, "send": held.sending}[step](size)

    def check(self) -> None:
        assert self.budget.used == sum(held.size for held in self.calls)
        assert sum(held.body_bytes for held in self.calls if held.body_bytes > SMALL_BYTES) <= self.total

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for held in self.calls:
            held.give_back()
        assert (self.budget.used, self.budget.waiting) == (0, 0)


async def play(steps: list[tuple[str, int, int]]) -> None:
    history = History()
    for step in steps:
        history.take(*step)
        await let_others_run()
        history.check()
    beside = sum(held.size for held in history.calls if held.body_bytes <= SMALL_BYTES or held.size > held.body_bytes)
    if not beside:  # bodies alone, of four tenants at most
        history.calls.append(await body(history.budget, "newcomer", history.total // 10))
    await history.end()


@given(STEPS)
def test_whatever_comes_large_bodies_stay_in_the_budget_a_newcomer_gets_in_and_all_comes_back(steps):
    asyncio.run(play(steps))
