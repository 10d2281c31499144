"""What every job store promises after it lost its data: those who hold jobs put them back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain.jobs import Outcome
from gateway.domain.usage import Measure, Window
from gateway.ports import Admitted, Granted, PoolNews, Quota, Remembered, SeedsNeeded
from tests.contracts.job_worlds import World, entry, granted, leaving, new_id, pool_up, queued


async def test_a_running_job_that_is_put_back_holds_its_backend_and_leaves_its_record(world: World):
    p = world.process("p")
    asked = entry(await pool_up(p, "a"), max_concurrency=1)
    place = await granted(p.jobs, asked)
    await world.lose_everything()
    assert (await p.jobs.beat(1)).held == frozenset()
    assert await p.jobs.restore(new_id(), Remembered(asked, place.at, place))
    assert (await p.jobs.beat(1)).held is None
    epoch = await pool_up(p, "a", "b")
    slot = (await p.pool.poll(from_scratch=True)).slots["a"]
    assert (slot.job_id, slot.tenant_id, slot.since, slot.is_recovering) == (asked.job_id, "t", place.at, False)
    await queued(p.jobs, entry(epoch, max_concurrency=1))
    assert await p.jobs.leave(leaving(asked.job_id))
    [(_, record)] = await p.outbox.read(10)
    assert (record.job_id, record.backend, record.outcome) == (asked.job_id, "a", Outcome.FINISHED)
    assert (record.entered_at, record.started_at) == (place.at, place.at)


async def test_an_upkeep_under_way_holds_its_backend_again_while_new_ones_wait_for_the_lease(world: World):
    p = world.process("p")
    await pool_up(p, "a", "b", "c")
    assert await p.pool.hold(new_id(), "upkeep", "a")
    await world.lose_everything()
    await p.jobs.beat(1)
    await p.pool.publish(new_id(), PoolNews(states=dict.fromkeys("abc", "up")))
    assert not await p.pool.hold(new_id(), "new", "b")
    assert await p.pool.hold(new_id(), "upkeep", "a", is_under_way=True)
    assert not await p.pool.hold(new_id(), "another", "a", is_under_way=True)
    assert (await p.jobs.beat(1)).held is None
    slots = (await p.pool.poll(from_scratch=True)).slots
    assert {name: slot.job_id for name, slot in slots.items()} == {"a": "upkeep"}
    await p.jobs.leave(leaving("upkeep"))
    assert await p.outbox.read(10) == []


async def test_a_waiting_job_that_is_put_back_has_its_old_place(world: World):
    p = world.process("p")
    first, second = entry(await p.jobs.epoch(), ticket=b'{"first":1}'), entry(await p.jobs.epoch())
    place = await queued(p.jobs, first)
    await world.lose_everything()
    world.fast_forward(1)
    await queued(p.jobs, entry(await p.jobs.epoch(), job_id=second.job_id))
    assert await p.jobs.restore(new_id(), Remembered(first, place.at, None))
    arrived = (await p.pool.poll(from_scratch=True)).arrived
    assert [job.job_id for job in arrived] == [first.job_id, second.job_id]
    assert (arrived[0].entered_at, arrived[0].ticket) == (place.at, b'{"first":1}')


async def test_a_job_that_the_store_knows_is_left_as_it_is(world: World):
    p = world.process("p")
    asked = entry(await pool_up(p, "a"))
    place = await granted(p.jobs, asked)
    assert not await p.jobs.restore(new_id(), Remembered(asked, place.at, None))
    await p.jobs.leave(leaving(asked.job_id))
    assert not await p.jobs.restore(new_id(), Remembered(asked, place.at, place))
    assert (await p.pool.poll(from_scratch=True)).slots == {}
    assert len(await p.outbox.read(10)) == 1


async def test_putting_a_job_back_twice_under_one_id_gives_the_first_answer(world: World):
    p = world.process("p")
    remembered = Remembered(entry(await p.jobs.epoch()), 1_000_000_000.5, None)
    operation = new_id()
    assert [await p.jobs.restore(operation, remembered) for _ in range(2)] == [True, True]
    assert len((await p.pool.poll(from_scratch=True)).arrived) == 1
    await p.jobs.leave(leaving(remembered.entry.job_id))
    assert await p.jobs.restore(operation, remembered)
    assert (await p.pool.poll(from_scratch=True)).arrived == ()


async def test_a_backend_that_was_given_away_meanwhile_stays_its_new_holders(world: World):
    p = world.process("p")
    asked = entry(await p.jobs.epoch())
    epoch = await pool_up(p, "a")
    newcomer = entry(epoch, tenant_id="u")
    place = await granted(p.jobs, newcomer)
    assert await p.jobs.restore(new_id(), Remembered(asked, place.at - 9, Granted("a", "", place.at - 9)))
    assert (await p.pool.poll(from_scratch=True)).slots["a"].job_id == newcomer.job_id
    assert await p.jobs.leave(leaving(asked.job_id, loaded="n"))
    changes = await p.pool.poll(from_scratch=True)
    assert (changes.slots["a"].job_id, changes.loaded) == (newcomer.job_id, {"a": "m"})


async def test_nothing_is_granted_for_one_lease_after_the_data_were_lost(world: World):
    p, q = world.process("p"), world.process("q")
    await p.jobs.beat(0)
    await q.jobs.beat(0)
    await world.lose_everything()
    assert (await p.jobs.beat(0)).has_lost_data
    epoch = await pool_up(p, "a", "b")
    asked = entry(epoch)
    await queued(p.jobs, asked)
    await p.pool.poll(from_scratch=True)
    assert await p.pool.grant(new_id(), [(asked.job_id, "a")]) == ["taken"]
    assert not await p.pool.hold(new_id(), new_id("upkeep"), "a")
    world.fast_forward(9)
    assert (await q.jobs.beat(0)).has_lost_data  # the same loss begins no second lease
    await p.pool.poll(from_scratch=True)
    world.fast_forward(1.1)
    assert not (await q.jobs.beat(0)).has_lost_data
    await pool_up(p, "a", "b")
    assert await p.pool.grant(new_id(), [(asked.job_id, "a")]) == ["granted"]


async def test_a_new_store_grants_at_once(world: World):
    p = world.process("p")
    assert not (await p.jobs.beat(0)).has_lost_data
    await granted(p.jobs, entry(await pool_up(p, "a")))


@pytest.mark.parametrize("is_counted_already", [False, True])
async def test_what_a_job_reserved_of_a_quota_is_reserved_again_when_it_is_put_back(world: World, is_counted_already):
    p = world.process("p")
    quota = Quota(Measure.IMAGES, Window.DAY, 5, 3)
    seeds = {(Measure.IMAGES, Window.DAY): 0.0}

    async def enter():
        asked = entry(await p.jobs.epoch(), quotas=(quota,))
        if isinstance(await p.jobs.enter(asked), SeedsNeeded):
            asked = replace(asked, operation_id=new_id(), seeds=seeds)
        return asked, await p.jobs.enter(asked)

    asked, answer = await enter()
    await world.lose_everything()
    if is_counted_already:  # another tenant's process was quicker: 2 of 5 are left for this job
        first = entry(await p.jobs.epoch(), quotas=(replace(quota, amount=1),))
        await p.jobs.enter(first)
        await p.jobs.enter(replace(first, operation_id=new_id(), seeds=seeds))
    assert await p.jobs.restore(new_id(), Remembered(asked, answer.place.at, None))
    refused = (await enter())[1]
    assert (refused.limit, refused.which) == ("quota", "images a day")
    assert await p.jobs.leave(leaving(asked.job_id, images=1))
    assert isinstance((await enter())[1], Admitted)
