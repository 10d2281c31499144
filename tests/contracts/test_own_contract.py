"""The contract of what is a key's own, of both the scripts and their oracle."""

from __future__ import annotations

import pytest

from gateway.adapters.redis.own import RedisOwn
from gateway.domain.scheduling import Forecast, Prospect
from gateway.ports import (
    Admitted,
    Asked,
    Granted,
    Look,
    OptionChange,
    OptionsChanged,
    Posted,
    Preview,
    Rate,
    Wished,
    Woken,
)
from tests.contracts.job_worlds import MemoryWorld, entry, granted, leaving, new_id, pool_up, queued
from tests.support.memory_own import MemoryOwn


@pytest.fixture
def own_of(world):
    def make(name):
        process = world.process(name)
        own = (
            MemoryOwn(world.store, name) if isinstance(world, MemoryWorld) else RedisOwn(process.jobs._connection, name)
        )
        return process, own

    return make


async def test_options_are_kept_forgotten_and_remembered_for_one_key(own_of):
    _, own = own_of("one")
    change = OptionChange({"a": 1, "b": [True]}, {"mine": "x"})
    assert (await own.change_options("k", change)).remembered == {"mine"}
    await own.change_options("k", OptionChange({"a": 2.5}, {}, frozenset({"b", "never"})))
    assert (await own.options("k")).values == {"a": 2.5, "mine": "x"}
    assert await own.options("other") == Posted()


async def test_remembered_options_have_a_bound_that_kept_ones_do_not(own_of):
    _, own = own_of("one")
    many = {f"m{number:03}": number for number in range(200)}
    kept = await own.change_options("k", OptionChange({}, many))
    assert kept.remembered == {f"m{number:03}" for number in range(128)}
    again = await own.change_options("k", OptionChange({"a": 1}, {"m001": 7, "m199": 7}))
    assert again.remembered == {"m001"}
    assert len((await own.options("k")).values) == 129


async def test_a_model_that_cannot_be_found_changes_nothing_unless_it_is_the_one_kept(own_of):
    _, own = own_of("one")
    await own.change_options("k", OptionChange({"sd_model_checkpoint": "gone"}, {}))
    refused = await own.change_options("k", OptionChange({"a": 1}, {"b": 2}, unless_shown="other"))
    assert (refused.is_refused, (await own.options("k")).values) == (True, {"sd_model_checkpoint": "gone"})
    assert not (await own.change_options("k", OptionChange({"a": 1}, {}, unless_shown="gone"))).is_refused
    assert (await own.options("k")).values == {"sd_model_checkpoint": "gone", "a": 1}


async def test_the_version_changes_with_each_change_and_not_without(own_of, world):
    _, own = own_of("one")
    await own.change_options("k", OptionChange({"a": 1}, {}))
    first = await own.options("k")
    assert (first.version != "", await own.options("k")) == (True, first)
    await own.change_options("k", OptionChange({"b": 1}, {}, unless_shown="no such model"))
    assert (await own.options("k")).version == first.version
    await own.change_options("k", OptionChange({}, {"": 1}, frozenset({"a"})))
    second = await own.options("k")
    assert (second.values, second.version not in ("", first.version)) == ({"": 1}, True)
    await world.lose_everything()
    assert await own.options("k") == Posted()


async def test_a_job_shaped_by_older_options_is_not_admitted(own_of):
    process, own = own_of("one")
    epoch = await pool_up(process, "a")
    await granted(process.jobs, entry(epoch, key_id="k", options_version=""))
    await own.change_options("k", OptionChange({"a": 1}, {}))
    for stale in ("", "another"):
        assert await process.jobs.enter(entry(epoch, key_id="k", options_version=stale)) == OptionsChanged()
    now = (await own.options("k")).version
    assert isinstance(await process.jobs.enter(entry(epoch, key_id="k", options_version=now)), Admitted)
    assert isinstance(await process.jobs.enter(entry(epoch, key_id="k")), Admitted)


async def test_a_key_sees_its_own_jobs_oldest_first_with_their_places(own_of, world):
    process, own = own_of("one")
    epoch = await pool_up(process, "a")
    first, second, other = (entry(epoch, key_id=key, task_id=task) for key, task in (("k", "t1"), ("k", ""), ("o", "")))
    await granted(process.jobs, first)
    world.fast_forward(1)
    await queued(process.jobs, other)
    world.fast_forward(1)
    await queued(process.jobs, second)
    seen = await own.look_at(Look("k"))
    assert [(job.job_id, job.task_id, job.position, job.process) for job in seen.jobs] == [
        (first.job_id, "t1", 0, "one"),
        (second.job_id, "", 2, "one"),
    ]
    assert (seen.waiting, [job.job_id for job in (await own.look_at(Look("o"))).jobs]) == (2, [other.job_id])
    await process.jobs.leave(leaving(first.job_id))
    assert [job.job_id for job in (await own.look_at(Look("k"))).jobs] == [second.job_id]


async def test_who_holds_a_job_hears_once_a_second_that_somebody_looks_elsewhere(own_of, world):
    holder, own = own_of("one")
    _, elsewhere = own_of("two")
    job = entry(await pool_up(holder, "a"), key_id="k")
    await granted(holder.jobs, job)
    await own.look_at(Look("k"))
    assert await holder.jobs.next_message(0.01) is None
    await elsewhere.look_at(Look("k", with_preview=True))
    await elsewhere.look_at(Look("k"))
    assert await holder.jobs.next_message(0.01) == Asked(job.job_id, "two", with_preview=True)
    assert await holder.jobs.next_message(0.01) is None
    world.fast_forward(1.1)
    await elsewhere.look_at(Look("k"))
    assert await holder.jobs.next_message(0.01) == Asked(job.job_id, "two", with_preview=False)


async def test_what_the_holder_shows_is_seen_everywhere_and_the_preview_where_it_was_asked_for(own_of):
    holder, own = own_of("one")
    other, elsewhere = own_of("two")
    job = entry(await pool_up(holder, "a"), key_id="k")
    await granted(holder.jobs, job)
    await own.show(job.job_id, b'{"progress":0.5}', "AAAA", frozenset({"two"}))
    await elsewhere.show(job.job_id, b"not the holder", "BBBB", frozenset({"two"}))
    assert [seen.shown for seen in (await elsewhere.look_at(Look("k"))).jobs] == [b'{"progress":0.5}']
    assert await other.jobs.next_message(0.01) == Preview(job.job_id, "AAAA")
    assert await other.jobs.next_message(0.01) is None
    await holder.jobs.leave(leaving(job.job_id))
    await own.show(job.job_id, b"{}", "AAAA", frozenset({"two"}))
    assert await other.jobs.next_message(0.01) is None


@pytest.mark.parametrize(
    ("task", "wished"), [("", "running"), ("t-waiting", "waiting"), ("nothing", None), ("theirs", None)]
)
async def test_a_wish_reaches_the_holder_of_the_named_job_or_of_the_oldest_that_runs(own_of, world, task, wished):
    holder, _ = own_of("one")
    _, elsewhere = own_of("two")
    epoch = await pool_up(holder, "a")
    jobs = {}
    for name, key in (("theirs", "o"), ("waiting", "k")):
        world.fast_forward(1)
        jobs[name] = entry(epoch, key_id=key, task_id=f"t-{name}" if key == "k" else name, runnable_on=("b",))
        await queued(holder.jobs, jobs[name])
    jobs["running"] = entry(epoch, key_id="k", job_id=new_id("job"))
    await queued(holder.jobs, jobs["running"])
    await holder.pool.poll(from_scratch=True)
    assert await holder.pool.grant(new_id(), [(jobs["running"].job_id, "a")]) == ["granted"]
    woken = await holder.jobs.next_message(0.01)
    assert isinstance(woken, Woken)
    assert isinstance(woken.granted, Granted)
    await elsewhere.look_at(Look("k", wish="interrupt", task_id=task))
    heard = []
    while (message := await holder.jobs.next_message(0.01)) is not None:
        heard.append(message)
    expected = [Wished(jobs[wished].job_id, "interrupt")] if wished else []
    assert [message for message in heard if isinstance(message, Wished)] == expected


async def test_a_key_sees_what_was_foretold_of_its_own_waiting_jobs_and_of_no_others(own_of, world):
    process, own = own_of("one")
    epoch = await process.jobs.epoch()
    mine, theirs = entry(epoch, key_id="k"), entry(epoch, key_id="o", tenant_id="u")
    for job in (mine, theirs):
        await queued(process.jobs, job)
    at = (await process.pool.poll(from_scratch=True)).at
    told = {mine.job_id: Prospect(1, at + 5.0, "busy"), theirs.job_id: Prospect(2, at + 9.0, "busy")}
    assert await process.pool.foretell(Forecast(told, {"t": at + 5.0, "u": at + 9.0}, {}))
    (seen,) = (await own.look_at(Look("k"))).jobs
    assert (seen.job_id, seen.foretold.position) == (mine.job_id, 1)
    assert seen.foretold.starts_at == pytest.approx(at + 5.0, abs=1e-5)


async def test_one_more_call_is_told_the_wait_foretold_for_its_checkpoint_and_what_is_left_of_its_rate(own_of, world):
    process, own = own_of("one")
    epoch = await process.jobs.epoch()
    rate = Rate("t:t", per_minute=60.0, burst=5)
    before = await own.expect("t", "m", rate)
    assert (before.wait_s, before.rate.remaining, before.rate.reset_s) == (None, 5, 0.0)
    for _ in range(2):
        await queued(process.jobs, entry(epoch, rates=(rate,)))
    at = (await process.pool.poll(from_scratch=True)).at
    await process.pool.foretell(Forecast({}, {"t": at + 40.0}, {"m": 7.0}))
    told = await own.expect("t", "m", rate)
    assert told.wait_s == pytest.approx(40.0, abs=1.0)  # its own jobs that wait go first
    assert (told.rate.remaining, told.rate.reset_s) == (3, pytest.approx(2.0, abs=1.0))
    assert (await own.expect("u", "m", rate)).wait_s == 7.0
    assert (await own.expect("u", "n", rate)).wait_s is None
    await process.pool.foretell(Forecast({}, {}, {"m": 7.0}, other_s=1.5))
    others = [(await own.expect("u", checkpoint, rate)).wait_s for checkpoint in ("m", "n", "")]
    assert others == [7.0, 1.5, None]
