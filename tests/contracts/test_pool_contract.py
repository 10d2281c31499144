"""What every pool store promises for dispatching, upkeep and news; checked in memory and in Valkey."""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.backends import FIT, Condition
from gateway.domain.jobs import Outcome
from gateway.domain.scheduling import Forecast, Prospect
from gateway.ports import BegunJob, SlotView, Woken
from tests.contracts.job_worlds import World, entry, granted, leaving, live_on, new_id, pool_up, publish, queued
from tests.support.patience import PATIENCE_S

# --- poll


async def test_the_first_poll_gives_every_waiting_job_in_order_and_the_whole_pool(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a")
    running, first, second = entry(epoch), entry(epoch), entry(epoch, tenant_id="u")
    place = await granted(p.jobs, running)
    places = [await queued(p.jobs, asked) for asked in (first, second)]
    changes = await p.pool.poll(from_scratch=True)
    assert changes.is_all
    assert [(job.job_id, job.entered_at, job.ticket) for job in changes.arrived] == [
        (first.job_id, places[0].at, b'{"n":1}'),
        (second.job_id, places[1].at, b'{"n":1}'),
    ]
    assert (changes.left, changes.loaded, changes.states) == ((), {"a": "m"}, {"a": "up"})
    mark = f"{running.job_id} t {round(place.at * 1_000_000)}"
    assert changes.slots == {"a": SlotView("a", running.job_id, "t", place.at, is_recovering=False, mark=mark)}


async def test_later_polls_give_only_what_came_and_left_since(world: World):
    p = world.process("p")
    epoch = await p.jobs.epoch()
    before = entry(epoch)
    await queued(p.jobs, before)
    await p.pool.poll(from_scratch=False)
    came, came_and_left = entry(epoch), entry(epoch)
    await queued(p.jobs, came)
    await queued(p.jobs, came_and_left)
    for gone in (before, came_and_left):
        await p.jobs.leave(leaving(gone.job_id))
    changes = await p.pool.poll(from_scratch=False)
    assert not changes.is_all
    assert [job.job_id for job in changes.arrived] == [came.job_id]
    assert changes.left == (before.job_id, came_and_left.job_id)
    nothing_new = await p.pool.poll(from_scratch=False)
    assert (nothing_new.is_all, nothing_new.arrived, nothing_new.left) == (False, (), ())


async def test_a_leader_that_begins_anew_is_told_everything_again(world: World):
    p = world.process("p")
    asked = entry(await p.jobs.epoch())
    await queued(p.jobs, asked)
    for _ in range(2):
        changes = await p.pool.poll(from_scratch=True)
        assert (changes.is_all, [job.job_id for job in changes.arrived]) == (True, [asked.job_id])
    assert (await p.pool.poll(from_scratch=False)).arrived == ()


async def test_only_one_process_dispatches_until_its_lease_has_run_out(world: World):
    p, q = world.process("p"), world.process("q")
    asked = entry(await p.jobs.epoch())
    await queued(p.jobs, asked)
    assert await p.pool.poll(from_scratch=True) is not None
    assert await q.pool.poll(from_scratch=True) is None
    assert (await q.jobs.beat(0)).dispatcher == "p"
    world.fast_forward(2)
    assert await p.pool.poll(from_scratch=False) is not None
    world.fast_forward(2)
    assert await q.pool.poll(from_scratch=True) is None
    world.fast_forward(1.1)
    changes = await q.pool.poll(from_scratch=False)
    assert (changes.is_all, [job.job_id for job in changes.arrived]) == (True, [asked.job_id])
    assert await p.pool.poll(from_scratch=False) is None


async def test_a_leader_whose_lease_ran_out_unnoticed_begins_anew(world: World):
    p = world.process("p")
    asked = entry(await p.jobs.epoch())
    await p.pool.poll(from_scratch=True)
    await queued(p.jobs, asked)
    world.fast_forward(4)
    assert (await p.pool.poll(from_scratch=False)).is_all


async def test_a_leader_that_resigns_is_followed_at_once_and_only_a_leader_can(world: World):
    p, q = world.process("p"), world.process("q")
    await p.pool.poll(from_scratch=True)
    await q.pool.resign()
    assert await q.pool.poll(from_scratch=True) is None
    await p.pool.resign()
    assert (await q.pool.poll(from_scratch=False)).is_all


async def test_a_thousand_events_come_at_once_and_the_rest_is_announced(world: World):
    p = world.process("p")
    epoch = await p.jobs.epoch()
    await p.pool.poll(from_scratch=True)
    asked = [entry(epoch, tenant_id=f"t{n}") for n in range(1001)]
    for one in asked:
        await queued(p.jobs, one)
    first = await p.pool.poll(from_scratch=False)
    await woken(p)
    second = await p.pool.poll(from_scratch=False)
    assert (len(first.arrived), [job.job_id for job in second.arrived]) == (1000, [asked[-1].job_id])


async def test_events_that_were_too_many_to_keep_make_the_leader_begin_anew(world: World):
    p = world.process("p")
    epoch = await p.jobs.epoch()
    stays = entry(epoch, tenant_id="u")
    await queued(p.jobs, stays)
    await p.pool.poll(from_scratch=True)
    world.fast_forward(1)  # within the lease: it is not for having lost it that the leader begins anew
    for _ in range(5001):
        asked = entry(epoch)
        await p.jobs.enter(asked)
        await p.jobs.leave(leaving(asked.job_id))
    changes = await p.pool.poll(from_scratch=False)
    assert changes.is_all
    assert [job.job_id for job in changes.arrived] == [stays.job_id]
    assert not (await p.pool.poll(from_scratch=False)).is_all


# --- what is known of backends


async def test_while_nobody_leads_no_job_finds_a_backend_by_itself(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a")
    await p.pool.resign()
    await queued(p.jobs, entry(epoch))


async def test_what_the_store_remembers_as_up_is_not_believed_by_a_leader_that_begins(world: World):
    p, q = world.process("p"), world.process("q")
    epoch = await pool_up(p, "a", "b", "c")
    await publish(p, states={"b": "down", "c": "draining"})
    version = (await p.jobs.beat(0)).states_version
    await p.pool.resign()
    changes = await q.pool.poll(from_scratch=True)
    assert changes.states == {"a": "unseen", "b": "down", "c": "draining"}
    assert (await q.jobs.beat(0)).states_version != version
    asked = entry(epoch)
    await queued(p.jobs, asked)
    assert await q.pool.grant(new_id(), [(asked.job_id, "a")]) == ["taken"]
    await publish(q, states={"a": "up"})
    assert (await q.pool.poll(from_scratch=False)).states["a"] == "up"
    assert await q.pool.grant(new_id(), [(asked.job_id, "a")]) == ["granted"]


async def test_a_state_comes_with_why_and_loses_it_with_the_next_state(world: World):
    p = world.process("p")
    await pool_up(p, "a", "b b")
    broken = Condition("It is broken: restart it.", needs_restart=True, began_at=12.5)
    await publish(p, states={"b b": "set_aside"}, conditions={"b b": broken})
    assert (await p.pool.poll(from_scratch=False)).conditions == {"b b": broken}
    version = (await p.jobs.beat(0)).states_version
    assert await p.pool.standings() == {"a": ("up", FIT), "b b": ("set_aside", broken)}
    await publish(p, states={"b b": "up"})
    assert (await p.pool.poll(from_scratch=False)).conditions == {}
    assert (await p.jobs.beat(0)).states_version != version
    await publish(p, states={"b b": "set_aside"}, conditions={"b b": broken})
    await publish(p, removed=("b b",))
    assert await p.pool.standings() == {"a": ("up", FIT)}


# --- grant


async def test_a_grant_reaches_the_process_that_waits(world: World):
    p, leader = world.process("p"), world.process("leader")
    epoch = await pool_up(leader, "a b", loaded="o ther")
    asked = entry(epoch)
    await queued(p.jobs, asked)
    await leader.pool.poll(from_scratch=True)
    assert await p.jobs.look([asked.job_id]) == {}
    assert await leader.pool.grant(new_id(), [(asked.job_id, "a b")]) == ["granted"]
    woken = await p.jobs.next_message(5)
    assert isinstance(woken, Woken)
    assert (woken.job_id, woken.granted.backend, woken.granted.loaded_before) == (asked.job_id, "a b", "o ther")
    assert await p.jobs.look([asked.job_id, "nobody"]) == {asked.job_id: woken.granted}
    changes = await leader.pool.poll(from_scratch=True)
    assert (changes.arrived, changes.loaded) == ((), {"a b": "m"})
    assert await p.jobs.next_message(0.01) is None
    assert await leader.jobs.next_message(0.01) is None


async def test_the_reason_of_a_grant_reaches_the_process_the_queue_view_and_the_record(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a", loaded="other")
    asked = entry(epoch)
    await queued(p.jobs, asked)
    seen, foretold = await p.pool.queue()
    assert foretold == {}
    assert [(job.job_id, job.ticket) for job in seen.arrived] == [(asked.job_id, asked.ticket)]
    assert (seen.slots, seen.loaded, seen.states) == ({}, {"a": "other"}, {"a": "up"})
    assert (await p.pool.job(asked.job_id)).state == "waiting"
    await p.pool.poll(from_scratch=True)
    await p.pool.grant(new_id(), [(asked.job_id, "a")], {asked.job_id: "a because"})
    assert (await p.jobs.look([asked.job_id]))[asked.job_id].why == "a because"
    assert (await p.jobs.next_message(5)).granted.why == "a because"
    line = await p.pool.job(asked.job_id)
    assert (line.state, line.backend, line.process, line.model, line.why) == ("running", "a", "p", "m", "a because")
    await p.jobs.leave(leaving(asked.job_id))
    assert [record.why for _, record in await p.outbox.read(9)] == ["a because"]
    assert await p.pool.job("nobody") is None


async def test_a_job_that_starts_at_once_says_so(world: World):
    p = world.process("p")
    asked = entry(await pool_up(p, "a"))
    place = await granted(p.jobs, asked)
    await p.jobs.leave(leaving(asked.job_id))
    assert [record.why for _, record in await p.outbox.read(9)] == [place.why]
    assert place.why == "free with its checkpoint loaded while nobody waited"


async def test_a_process_without_the_lease_grants_nothing(world: World):
    p, q = world.process("p"), world.process("q")
    epoch = await pool_up(p, "a", loaded="other")
    asked = entry(epoch)
    await queued(p.jobs, asked)
    assert await q.pool.grant(new_id(), [(asked.job_id, "a")]) == ["deposed"]
    await p.pool.poll(from_scratch=True)
    assert await q.pool.grant(new_id(), [(asked.job_id, "a"), ("x", "b")]) == ["deposed", "deposed"]
    world.fast_forward(4)
    assert await p.pool.grant(new_id(), [(asked.job_id, "a")]) == ["deposed"]
    assert await p.jobs.look([asked.job_id]) == {}


async def test_each_grant_is_answered_by_what_became_of_it(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a", "b", "down", loaded="other")
    await publish(p, states={"down": "down"})
    one, two, three, gone = [entry(epoch, max_concurrency=1) for _ in range(4)]
    other = entry(epoch, tenant_id="u")
    for asked in (one, two, three, gone, other):
        await queued(p.jobs, asked)
    await p.jobs.leave(leaving(gone.job_id))
    await p.pool.poll(from_scratch=True)
    decisions = [
        (one.job_id, "a"),
        (one.job_id, "b"),
        (two.job_id, "a"),
        (two.job_id, "b"),
        (gone.job_id, "b"),
        ("nobody", "b"),
        (three.job_id, "down"),
        (three.job_id, "never heard of"),
        (other.job_id, "b"),
    ]
    assert await p.pool.grant(new_id(), decisions) == [
        "granted",
        "gone",
        "taken",
        "cap",
        "gone",
        "gone",
        "taken",
        "taken",
        "granted",
    ]
    assert await p.pool.grant(new_id(), []) == []


async def woken(process) -> None:
    """Fail if the dispatcher is not told that there is work."""
    async with asyncio.timeout(PATIENCE_S):
        await process.pool.wait_for_work(600)


async def test_the_leader_is_woken_when_there_is_something_to_do(world: World):
    p, leader = world.process("p"), world.process("leader")
    epoch = await pool_up(leader, "a")
    running = entry(epoch)
    await granted(p.jobs, running)
    await leader.pool.poll(from_scratch=True)
    await queued(p.jobs, entry(epoch))
    await woken(leader)
    await publish(p, states={"a": "down"})
    await woken(leader)
    await p.jobs.leave(leaving(running.job_id))
    await woken(leader)


async def test_what_a_poll_has_told_wakes_the_leader_no_more(world: World):
    p = world.process("p")
    await p.pool.poll(from_scratch=True)
    await queued(p.jobs, entry(await p.jobs.epoch()))
    await p.pool.poll(from_scratch=False)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await p.pool.wait_for_work(600)


# --- hold


async def test_a_held_backend_is_given_to_nobody_until_the_upkeep_leaves(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a")
    upkeep = new_id("upkeep")
    assert await p.pool.hold(new_id(), upkeep, "a")
    assert not await p.pool.hold(new_id(), new_id("upkeep"), "a")
    waiting = entry(epoch)
    await queued(p.jobs, waiting)
    await p.jobs.leave(leaving(waiting.job_id))
    assert (await p.jobs.beat(1)).held is None
    assert await p.jobs.leave(leaving(upkeep, loaded="n"))
    assert (await granted(p.jobs, entry(epoch, checkpoint="n"))).backend == "a"
    assert [record.job_id for _, record in await p.outbox.read(10)] == [waiting.job_id]


async def test_an_upkeep_whose_process_died_leaves_the_backend_recovering_and_no_record(world: World):
    dead, alive = world.process("dead"), world.process("alive")
    await pool_up(alive, "a")
    await dead.pool.hold(new_id(), "upkeep", "a")
    await live_on(world, alive, 9)
    world.fast_forward(2)
    assert (await alive.jobs.beat(0)).reaped == 1
    assert (await alive.pool.poll(from_scratch=True)).slots["a"].is_recovering
    assert await alive.outbox.read(10) == []


async def test_an_upkeep_cannot_wait_in_the_queue(world: World):
    p = world.process("p")
    await pool_up(p, "a")
    await p.pool.hold(new_id(), "upkeep", "a")
    assert await p.jobs.requeue(new_id(), "upkeep", ("a",), b"{}", None) is None
    assert not await p.pool.hold(new_id(), "another", "a")


# --- publish


async def test_a_backend_whose_job_still_runs_is_never_freed_as_quiet(world: World):
    p = world.process("p")
    asked = entry(await pool_up(p, "a"))
    await granted(p.jobs, asked)
    slot = (await p.pool.poll(from_scratch=True)).slots["a"]
    await publish(p, quiet={"a": slot.mark})
    assert (await p.pool.poll(from_scratch=True)).slots == {"a": slot}


async def test_news_never_overwrite_what_is_loaded_while_a_job_holds_the_backend(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a")
    asked = entry(epoch)
    await granted(p.jobs, asked)
    await publish(p, loaded={"a": "stale", "b": "n"})
    assert (await p.pool.poll(from_scratch=True)).loaded == {"a": "m", "b": "n"}
    await p.jobs.leave(leaving(asked.job_id))
    await publish(p, loaded={"a": "fresh", "b": ""})
    assert (await p.pool.poll(from_scratch=True)).loaded == {"a": "fresh"}


async def test_inventories_are_kept_as_they_are_and_each_change_has_its_version(world: World):
    p = world.process("p")
    assert (await p.jobs.beat(0)).catalogue_version == ""
    await publish(p, states={"a": "up"})
    assert (await p.jobs.beat(0)).catalogue_version == ""
    await publish(p, inventories={"a": b'{"samplers":["\xc3\xa9"]}', "b": b"{}"})
    assert await p.pool.inventories() == {"a": b'{"samplers":["\xc3\xa9"]}', "b": b"{}"}
    assert (await p.jobs.beat(0)).catalogue_version == "1"
    await publish(p, removed=("b",))
    assert await p.pool.inventories() == {"a": b'{"samplers":["\xc3\xa9"]}'}
    assert (await p.jobs.beat(0)).catalogue_version == "2"


@pytest.mark.parametrize("is_abandoned", [False, True])
async def test_a_removed_backend_is_forgotten_once_its_job_has_left(world: World, is_abandoned):
    p = world.process("p")
    epoch = await pool_up(p, "a")
    asked = entry(epoch)
    await granted(p.jobs, asked)
    await publish(p, removed=("a",))
    changes = await p.pool.poll(from_scratch=True)
    assert (changes.states, changes.loaded, [*changes.slots]) == ({}, {}, ["a"])
    await p.jobs.leave(leaving(asked.job_id, is_abandoned=is_abandoned))
    await publish(p, removed=("a",))
    assert (await p.pool.poll(from_scratch=True)).slots == {}


async def test_what_the_scheduler_remembers_is_there_for_the_next_leader(world: World):
    assert await world.process("p").pool.memory() == b""
    await world.process("p").pool.remember(b'{"accounts":{}}')
    await world.process("p").pool.remember(b'{"accounts":{"t":1}}')
    assert await world.process("q").pool.memory() == b'{"accounts":{"t":1}}'


# --- rescans


async def test_the_last_wish_for_a_rescan_is_what_any_process_reads(world: World):
    one, other = world.process("p").pool, world.process("q").pool
    assert await one.rescan_wish() == ""
    await other.wish_rescan("first")
    await one.wish_rescan("second")
    assert (await one.rescan_wish(), await other.rescan_wish()) == ("second", "second")


# --- the forecast


async def a_forecast(process, job_id, starts_in_s, wait_s):
    """Foretold by that process, which leads; also what another one would be told if it tried."""
    at = (await process.pool.poll(from_scratch=False)).at
    told = Forecast({job_id: Prospect(3, at + starts_in_s, "busy")}, {"t": at + starts_in_s}, {"m": wait_s})
    return told if await process.pool.foretell(told) else None


async def test_what_the_leader_foretells_is_told_of_each_job_and_the_next_forecast_replaces_it(world: World):
    p, q = world.process("p"), world.process("q")
    asked, other = entry(await p.jobs.epoch()), entry(await p.jobs.epoch())
    for job in (asked, other):
        await queued(p.jobs, job)
    first = await a_forecast(p, asked.job_id, 30.0, 7.0)
    assert (await q.pool.queue())[1] == {asked.job_id: _about(first.jobs[asked.job_id])}
    assert (await q.pool.prospect(asked.job_id), await q.pool.prospect(other.job_id)) == (
        _about(first.jobs[asked.job_id]),
        None,
    )
    second = await a_forecast(p, other.job_id, 20.0, 7.0)
    assert (await q.pool.queue())[1] == {other.job_id: _about(second.jobs[other.job_id])}
    await p.pool.foretell(Forecast({}, {}, {}))
    assert (await q.pool.queue())[1] == {}


async def test_only_the_leader_foretells(world: World):
    p, q = world.process("p"), world.process("q")
    assert not await q.pool.foretell(Forecast({}, {}, {"m": 1.0}))
    await p.pool.poll(from_scratch=True)
    assert not await q.pool.foretell(Forecast({}, {}, {"m": 1.0}))
    assert await p.pool.foretell(Forecast({}, {}, {"m": 1.0}))


async def test_a_forecast_of_thousands_of_jobs_is_published_at_once(world: World):
    p = world.process("p")
    await p.pool.poll(from_scratch=True)
    told = {f"j{number}": Prospect(number, 1_000.0 + number, "busy") for number in range(1, 3000)}
    assert await p.pool.foretell(Forecast(told, {}, {}))
    assert (await p.pool.queue())[1] == told


async def test_who_has_too_many_jobs_is_told_when_the_first_of_them_should_start(world: World):
    p = world.process("p")
    epoch = await p.jobs.epoch()
    asked = entry(epoch, max_concurrency=1, max_queued=1)
    await queued(p.jobs, asked)
    await queued(p.jobs, entry(epoch, max_concurrency=1, max_queued=1))
    await a_forecast(p, asked.job_id, 30.0, 7.0)
    world.fast_forward(10)
    refused = await p.jobs.enter(entry(epoch, max_concurrency=1, max_queued=1))
    assert (refused.limit, refused.retry_after_s) == ("outstanding", pytest.approx(20.0, abs=2.0))
    stranger = await p.jobs.enter(entry(epoch, tenant_id="u", max_concurrency=0, max_queued=0))
    assert (stranger.limit, stranger.retry_after_s) == ("outstanding", 0.0)


async def test_who_does_not_wait_is_told_when_such_a_call_would_start(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a")
    asked = entry(epoch)
    await granted(p.jobs, asked)
    await a_forecast(p, "none", 30.0, 7.0)
    refused = await p.jobs.enter(entry(epoch, tenant_id="u", max_queued=0))
    assert (refused.limit, refused.retry_after_s) == ("busy", 7.0)


def _about(told):
    return Prospect(told.position, pytest.approx(told.starts_at, abs=1e-5), told.why)


# --- jobs that begin by rule 0


async def test_a_job_that_began_at_once_is_told_while_it_runs_and_when_it_was_over_before_the_next_poll(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a", "b")
    await p.pool.poll(from_scratch=True)
    runs, over, failed = entry(epoch), entry(epoch), entry(epoch)
    started = (await granted(p.jobs, runs)).at
    begun = (await granted(p.jobs, over)).at
    world.fast_forward(2)
    await p.jobs.leave(leaving(over.job_id))
    await granted(p.jobs, failed)
    await p.jobs.leave(leaving(failed.job_id, outcome=Outcome.FAILED))
    first, second = (await p.pool.poll(from_scratch=False)).began
    assert first == BegunJob(runs.job_id, started, 0.0, runs.ticket)
    assert (second.job_id, second.started_at, second.ticket) == (over.job_id, begun, over.ticket)
    assert second.ended_at == pytest.approx(begun + 2.0, abs=1.0)
    assert (await p.pool.poll(from_scratch=False)).began == ()
    assert (await p.pool.poll(from_scratch=True)).began == (first,)
