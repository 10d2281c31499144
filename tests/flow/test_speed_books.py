"""What was learned about backends outlives the hot store, and never stands in the way."""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.domain.managed import Speed, SpeedOf
from gateway.domain.speeds import Speeds
from gateway.flow.dispatch import Dispatcher
from gateway.flow.speed_books import AT_MOST_S, Librarian, recalled
from gateway.ports import PoolNews
from tests.flow.world import DistantJobs, LoopStore, now

pytestmark = pytest.mark.virtual_time


class Shelf:
    """Books in memory, that can be away or slow; fulfils `SpeedBooks`."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, SpeedOf, str], float] = {}
        self.writes: list[int] = []
        self.is_away = False
        self.slow_s = 0.0

    async def load_speeds(self):
        await asyncio.sleep(self.slow_s)
        if self.is_away:
            raise StoreUnavailable("away")
        return [Speed(*key, seconds) for key, seconds in self.rows.items()]

    async def save_speeds(self, speeds, at):
        await asyncio.sleep(self.slow_s)
        if self.is_away:
            raise StoreUnavailable("away")
        self.writes.append(len(speeds))
        self.rows |= {(speed.backend, speed.of, speed.name): speed.seconds for speed in speeds}


async def leading(shelf, store=None):
    jobs = DistantJobs(store or LoopStore(), "p")
    await jobs.beat(0)
    await jobs.publish("up", PoolNews(states={"a": "up", "b": "up"}))
    dispatcher = Dispatcher(jobs, lambda: recalled(shelf))
    await dispatcher.step()
    return dispatcher, Librarian(shelf, dispatcher, now)


def teach(speeds):
    speeds.finished_generation("a", "red", 10.0, 7.0)
    speeds.finished_swap("a", "red", 10.0, 37.0)
    speeds.finished_upscale("a", "4x", 2.0, 9.0)


async def test_a_store_that_lost_everything_leaves_a_leader_that_knows_each_backend_and_swap_and_upscaler():
    shelf = Shelf()
    before, librarian = await leading(shelf)
    teach(before.scheduler.speeds)
    loop = asyncio.create_task(librarian.run())  # noqa: TID251 - a test owns it
    await asyncio.sleep(61)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    after, _ = await leading(shelf)
    assert sorted(after.scheduler.speeds.dump()) == sorted(before.scheduler.speeds.dump())
    assert after.scheduler.speeds.swap.rate("a", "red") == pytest.approx(30.0)


async def test_a_process_that_ends_writes_down_what_it_learned_in_its_last_minute_and_only_what_is_new():
    shelf = Shelf()
    dispatcher, librarian = await leading(shelf)
    teach(dispatcher.scheduler.speeds)
    loop = asyncio.create_task(librarian.run())  # noqa: TID251 - a test owns it
    await asyncio.sleep(125)
    dispatcher.scheduler.speeds.finished_generation("b", "red", 10.0, 14.0)
    dispatcher._stand_by()  # as its own loop does first when it is cancelled
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert shelf.rows["b", SpeedOf.CHECKPOINT, "red"] == pytest.approx(1.4)
    assert len(shelf.writes) == 2
    assert shelf.writes[1] < shelf.writes[0]


async def test_a_process_that_no_longer_leads_writes_nothing_over_what_the_leader_wrote():
    shelf = Shelf()
    dispatcher, librarian = await leading(shelf)
    teach(dispatcher.scheduler.speeds)
    loop = asyncio.create_task(librarian.run())  # noqa: TID251 - a test owns it
    await asyncio.sleep(1)
    dispatcher._stand_by()
    await asyncio.sleep(120)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert shelf.writes == []


async def test_a_database_that_is_away_or_slow_keeps_no_leader_from_leading():
    shelf = Shelf()
    shelf.is_away = True
    dispatcher, _ = await leading(shelf)
    assert dispatcher.scheduler.speeds.dump() == Speeds().dump()
    shelf.is_away, shelf.slow_s = False, 60.0
    begun = now()
    dispatcher, _ = await leading(shelf)
    assert dispatcher.is_leading
    assert now() - begun == pytest.approx(AT_MOST_S, abs=0.1)


async def test_a_database_that_was_away_for_a_while_gets_all_of_it_later():
    shelf = Shelf()
    dispatcher, librarian = await leading(shelf)
    teach(dispatcher.scheduler.speeds)
    shelf.is_away = True
    loop = asyncio.create_task(librarian.run())  # noqa: TID251 - a test owns it
    await asyncio.sleep(61)
    shelf.is_away = False
    await asyncio.sleep(60)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert shelf.writes == [len(dispatcher.scheduler.speeds.dump())]


async def test_a_backend_that_is_new_starts_at_the_median_of_what_was_written_down():
    shelf = Shelf()
    for name, level in (("a", 0.2), ("b", 0.3), ("c", 0.9)):
        shelf.rows[name, SpeedOf.CHECKPOINT, ""] = level
    dispatcher, _ = await leading(shelf)
    assert dispatcher.scheduler.speeds.generation.rate("new", "red") == pytest.approx(0.3)


async def test_what_the_hot_store_remembers_goes_before_the_books():
    shelf, store = Shelf(), LoopStore()
    shelf.rows["a", SpeedOf.CHECKPOINT, ""] = 9.0
    jobs = DistantJobs(store, "q")
    await jobs.remember(b'{"speeds": [["generation", "a", "", 0.5]]}')
    dispatcher, _ = await leading(shelf, store)
    assert dispatcher.scheduler.speeds.generation.level("a") == 0.5
