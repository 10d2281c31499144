"""What every job store promises after it lost its data: those who hold jobs put them back."""

from __future__ import annotations

from gateway.domain.jobs import Outcome
from gateway.ports import Granted, Remembered
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
