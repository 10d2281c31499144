"""What every job store promises for entering, asking again, leaving and living; checked in memory and in Valkey."""

from __future__ import annotations

import msgspec
import pytest

from gateway.domain.jobs import Outcome
from gateway.domain.limits import MICROSECONDS
from gateway.ports import Admitted, Beat, EpochChanged, Granted, Queued, RateState, Refused, Remembered
from tests.contracts.job_worlds import (
    World,
    entry,
    granted,
    leaving,
    live_on,
    new_id,
    pool_up,
    publish,
    queued,
    rate,
)


async def outcomes(process) -> list[tuple[str, Outcome]]:
    return [(record.job_id, record.outcome) for _, record in await process.outbox.read(100)]


# --- enter: granted, queued, refused


async def test_a_job_gets_a_free_backend_that_has_its_checkpoint_loaded_at_once(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a", loaded="other")
    await publish(p, states={"b": "up"}, loaded={"b": "m"})
    place = await granted(p.jobs, entry(epoch))
    assert (place.backend, place.loaded_before) == ("b", "m")


async def test_a_job_for_which_the_checkpoint_does_not_matter_takes_the_first_free_backend(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a", loaded="other")
    assert (await granted(p.jobs, entry(epoch, checkpoint=""))).loaded_before == "other"


@pytest.mark.parametrize("state", ["down", "draining", "unseen", "ejected", "set_aside"])
async def test_a_backend_that_is_not_up_gets_no_job(world: World, state):
    p = world.process("p")
    epoch = await pool_up(p, "a")
    await publish(p, states={"a": state})
    assert (await queued(p.jobs, entry(epoch))).position == 1


async def test_nobody_overtakes_those_who_wait(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a")
    assert (await queued(p.jobs, entry(epoch, checkpoint="elsewhere"))).position == 1
    assert (await queued(p.jobs, entry(epoch, tenant_id="u"))).position == 2


async def test_a_job_that_no_backend_could_run_waits(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a")
    assert (await queued(p.jobs, entry(epoch, runnable_on=()))).position == 1


async def test_a_tenant_at_its_cap_waits_while_another_gets_the_backend(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a", "b")
    await granted(p.jobs, entry(epoch, max_concurrency=1))
    waiting = entry(epoch, max_concurrency=1)
    await queued(p.jobs, waiting)
    await p.jobs.leave(leaving(waiting.job_id))
    await granted(p.jobs, entry(epoch, tenant_id="u"))


async def test_a_tenant_is_refused_when_as_many_wait_and_run_as_its_plan_allows(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a", "b")
    for _ in range(5):
        assert isinstance(await p.jobs.enter(entry(epoch)), Admitted)
    refused = await p.jobs.enter(entry(epoch))
    assert isinstance(refused, Refused)
    assert (refused.limit, refused.which, refused.retry_after_s) == ("outstanding", "5", 0.0)
    assert isinstance(await p.jobs.enter(entry(epoch, tenant_id="u")), Admitted)


async def test_a_plan_that_does_not_wait_is_refused_as_busy(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a")
    await granted(p.jobs, entry(epoch, max_queued=0))
    refused = await p.jobs.enter(entry(epoch, max_queued=0))
    assert isinstance(refused, Refused)
    assert (refused.limit, refused.which) == ("busy", "1")
    assert (await p.jobs.beat(1)).held is None


async def test_keys_that_changed_are_looked_up_anew_before_the_next_job(world: World):
    p, q = world.process("p"), world.process("q")
    epoch = await pool_up(p, "a")
    await q.jobs.keys_changed()
    answer = await p.jobs.enter(entry(epoch))
    assert answer == EpochChanged(await q.jobs.epoch())
    assert answer != EpochChanged(epoch)
    await granted(p.jobs, entry(answer.epoch))


async def test_a_store_that_lost_its_data_asks_for_a_new_look_at_the_key_and_then_admits(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a")
    await world.lose_everything()
    answer = await p.jobs.enter(entry(epoch))
    assert isinstance(answer, EpochChanged)
    assert answer.epoch not in ("", epoch)
    assert isinstance(await p.jobs.enter(entry(answer.epoch)), Admitted)


async def test_the_first_that_fits_of_very_many_backends_is_taken(world: World):
    p = world.process("p")
    names = tuple(f"backend {number}" for number in range(200))
    epoch = await pool_up(p, *names, loaded="other")
    await publish(p, loaded={names[171]: "m", names[16]: "m", names[199]: "m"}, states={names[16]: "down"})
    asked = {"runnable_on": names, "max_concurrency": 9}
    assert (await granted(p.jobs, entry(epoch, **asked))).backend == names[171]
    assert (await granted(p.jobs, entry(epoch, **asked))).backend == names[199]
    assert (await granted(p.jobs, entry(epoch, checkpoint="", **asked))).backend == names[0]
    await queued(p.jobs, entry(epoch, **asked))


# --- rate: exactly GCRA


async def test_a_burst_fits_at_once_and_the_next_call_is_told_when_it_will(world: World):
    p = world.process("p")
    epoch = await p.jobs.epoch()
    first, second, third = [await p.jobs.enter(entry(epoch, rates=(rate(6, 2),))) for _ in range(3)]
    assert (first.rate, second.rate.remaining) == (RateState(1, 10.0), 0)
    elapsed = second.place.at - first.place.at
    assert second.rate.reset_s == pytest.approx(20.0 - elapsed, abs=2e-6)
    assert (third.limit, third.which) == ("rate", "t:t")
    assert third.at + third.retry_after_s == pytest.approx(first.place.at + 10.0, abs=2e-6)


async def test_a_call_fits_again_after_exactly_the_time_that_was_told(world: World):
    p = world.process("p")
    epoch = await p.jobs.epoch()
    limits = (rate(0.5, 1),)
    first = await p.jobs.enter(entry(epoch, rates=limits))
    world.fast_forward(first.place.at + 119.0 - await world.now_us() / MICROSECONDS)
    early = await p.jobs.enter(entry(epoch, rates=limits))
    assert isinstance(early, Refused)
    world.fast_forward(early.retry_after_s + 0.001)
    assert isinstance(await p.jobs.enter(entry(epoch, rates=limits)), Admitted)


async def test_a_refusal_by_the_second_rate_takes_nothing_of_the_first(world: World):
    p = world.process("p")
    epoch = await p.jobs.epoch()
    tight, wide = rate(6, 1, "key"), rate(60, 3, "tenant")
    await p.jobs.enter(entry(epoch, rates=(tight,)))
    assert (await p.jobs.enter(entry(epoch, rates=(wide, tight)))).which == "key"
    assert (await p.jobs.enter(entry(epoch, rates=(wide,)))).rate == RateState(2, 1.0)


async def test_the_tightest_rate_is_told(world: World):
    p = world.process("p")
    answer = await p.jobs.enter(entry(await p.jobs.epoch(), rates=(rate(60, 9, "x"), rate(6, 3, "y"))))
    assert answer.rate == RateState(2, 10.0)


async def test_a_job_without_rates_says_so(world: World):
    p = world.process("p")
    answer = await p.jobs.enter(entry(await p.jobs.epoch()))
    assert answer.rate == RateState(-1, 0.0)


async def test_a_refused_job_costs_no_token(world: World):
    p = world.process("p")
    epoch = await p.jobs.epoch()
    await p.jobs.enter(entry(epoch, max_queued=0, rates=(rate(60, 5),)))
    answer = await p.jobs.enter(entry(epoch, rates=(rate(60, 5),)))
    assert answer.rate == RateState(4, 1.0)


# --- leave


async def test_a_job_that_leaves_gives_slot_and_place_back_and_leaves_one_record(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a")
    asked = entry(epoch, max_concurrency=1, max_queued=0)
    place = await granted(p.jobs, asked)
    world.fast_forward(30)
    final = msgspec.json.encode({"images": 3, "gpu_seconds": 2.5})
    assert await p.jobs.leave(leaving(asked.job_id, final=final, images=3, gpu_seconds=2.5))
    [(token, record)] = await p.outbox.read(10)
    assert (record.job_id, record.outcome, record.backend) == (asked.job_id, Outcome.FINISHED, "a")
    assert (record.entered_at, record.started_at) == (place.at, place.at)
    assert record.ended_at - place.at == pytest.approx(30, abs=5)
    assert (record.tenant_id, record.model, record.images, record.gpu_seconds) == ("t", "m", 3, 2.5)
    await pool_up(p, "a")
    await granted(p.jobs, entry(epoch, max_concurrency=1, max_queued=0))
    await p.outbox.drop([token])
    assert await p.outbox.read(10) == []


async def test_a_waiting_job_that_leaves_makes_room_for_the_next(world: World):
    p = world.process("p")
    epoch = await p.jobs.epoch()
    asked = entry(epoch, max_concurrency=1, max_queued=0 + 1)
    await queued(p.jobs, asked)
    other = entry(epoch, max_concurrency=1, max_queued=1)
    await queued(p.jobs, other)
    assert (await p.jobs.enter(entry(epoch, max_concurrency=1, max_queued=1))).limit == "outstanding"
    assert await p.jobs.leave(leaving(asked.job_id, outcome=Outcome.WITHDRAWN))
    assert (await queued(p.jobs, entry(epoch, max_concurrency=1, max_queued=1))).position == 2
    [(_, record)] = await p.outbox.read(10)
    assert (record.outcome, record.backend, record.started_at) == (Outcome.WITHDRAWN, "", 0.0)


async def test_leaving_twice_or_without_having_entered_changes_nothing(world: World):
    p = world.process("p")
    asked = entry(await p.jobs.epoch())
    await queued(p.jobs, asked)
    assert await p.jobs.leave(leaving(asked.job_id))
    assert not await p.jobs.leave(leaving(asked.job_id, outcome=Outcome.FAILED))
    assert not await p.jobs.leave(leaving("nobody"))
    assert await outcomes(p) == [(asked.job_id, Outcome.FINISHED)]


@pytest.mark.parametrize(("told", "known"), [(None, "m"), ("", ""), ("n", "n")])
async def test_leaving_says_what_the_backend_has_loaded_now(world: World, told, known):
    p = world.process("p")
    epoch = await pool_up(p, "a")
    asked = entry(epoch)
    await granted(p.jobs, asked)
    await p.jobs.leave(leaving(asked.job_id, loaded=told))
    assert (await granted(p.jobs, entry(epoch, checkpoint=""))).loaded_before == known


async def test_an_abandoned_backend_is_given_to_nobody_until_it_was_seen_to_be_quiet(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a")
    asked = entry(epoch)
    await granted(p.jobs, asked)
    await p.jobs.leave(leaving(asked.job_id, is_abandoned=True, outcome=Outcome.EXPIRED))
    waiting = entry(epoch)
    await queued(p.jobs, waiting)
    changes = await p.pool.poll(from_scratch=True)
    slot = changes.slots["a"]
    assert (slot.job_id, slot.is_recovering) == (asked.job_id, True)
    assert await p.pool.grant(new_id(), [(waiting.job_id, "a")]) == ["taken"]
    assert not await p.pool.hold(new_id(), new_id("upkeep"), "a")
    await publish(p, quiet={"a": "another mark"})
    assert await p.pool.grant(new_id(), [(waiting.job_id, "a")]) == ["taken"]
    await publish(p, quiet={"a": slot.mark})
    assert await p.pool.grant(new_id(), [(waiting.job_id, "a")]) == ["granted"]


# --- requeue


async def test_a_job_that_asks_again_gets_another_backend_and_the_first_is_free(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a", "b")
    asked = entry(epoch)
    await granted(p.jobs, asked)
    again = await p.jobs.requeue(new_id(), asked.job_id, ("b",), b"{}", "")
    assert isinstance(again, Granted)
    assert (again.backend, again.loaded_before) == ("b", "m")
    free = await granted(p.jobs, entry(epoch, checkpoint=""))
    assert (free.backend, free.loaded_before) == ("a", "")


async def test_a_job_that_asks_again_keeps_its_place_before_those_who_came_later(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a")
    first, second = entry(epoch), entry(epoch)
    entered = await granted(p.jobs, first)
    world.fast_forward(1)
    await queued(p.jobs, second)
    place = await p.jobs.requeue(new_id(), first.job_id, (), b'{"again":1}', None)
    assert isinstance(place, Queued)
    assert place.position == 1
    arrived = (await p.pool.poll(from_scratch=True)).arrived
    assert [ticket.job_id for ticket in arrived] == [first.job_id, second.job_id]
    assert (arrived[0].entered_at, arrived[0].ticket) == (entered.at, b'{"again":1}')


async def test_only_a_running_job_can_ask_again(world: World):
    p = world.process("p")
    waiting, gone = entry(await p.jobs.epoch()), entry(await p.jobs.epoch())
    for asked in (waiting, gone):
        await queued(p.jobs, asked)
    await p.jobs.leave(leaving(gone.job_id))
    for job_id in (waiting.job_id, gone.job_id, "nobody"):
        assert await p.jobs.requeue(new_id(), job_id, ("a",), b"{}", None) is None


# --- heartbeat


async def test_a_heartbeat_tells_what_a_process_must_know(world: World):
    p = world.process("p")
    epoch = await pool_up(p, "a")
    await publish(p, inventories={"a": b"{}"})
    await p.pool.poll(from_scratch=True)
    asked = entry(epoch)
    await granted(p.jobs, asked)
    beat = await p.jobs.beat(1)
    assert beat == Beat(beat.at, beat.generation, epoch, "1", "1", "p", 0, None)
    assert (await p.jobs.beat(0)).held == frozenset({asked.job_id})
    await p.jobs.leave(leaving(asked.job_id))
    assert (await p.jobs.beat(1)).held == frozenset()


async def test_what_a_dead_process_held_is_lost_once_and_its_backend_recovers(world: World):
    dead, alive = world.process("dead"), world.process("alive")
    epoch = await pool_up(alive, "a")
    running, waiting = entry(epoch), entry(epoch)
    await granted(dead.jobs, running)
    await queued(dead.jobs, waiting)
    await live_on(world, alive, 9)
    assert (await alive.jobs.beat(0)).reaped == 0
    world.fast_forward(2)
    assert (await alive.jobs.beat(0)).reaped == 2
    assert (await alive.jobs.beat(0)).reaped == 0
    assert sorted(await outcomes(alive)) == sorted([(running.job_id, Outcome.LOST), (waiting.job_id, Outcome.LOST)])
    changes = await alive.pool.poll(from_scratch=True)
    assert changes.arrived == ()
    assert changes.slots["a"].is_recovering
    for _ in range(5):
        await queued(alive.jobs, entry(epoch))


async def test_a_late_holder_corrects_its_lost_record_once_and_frees_the_backend(world: World):
    dead, alive = world.process("dead"), world.process("alive")
    epoch = await pool_up(alive, "a")
    asked = entry(epoch)
    await granted(dead.jobs, asked)
    await live_on(world, alive, 11)
    await alive.jobs.beat(0)
    assert (await dead.jobs.beat(1)).held == frozenset()
    assert await dead.jobs.leave(leaving(asked.job_id))
    assert not await dead.jobs.leave(leaving(asked.job_id))
    assert await outcomes(alive) == [(asked.job_id, Outcome.LOST), (asked.job_id, Outcome.FINISHED)]
    await pool_up(alive, "a")
    await granted(alive.jobs, entry(epoch))


async def test_a_process_that_never_had_a_heartbeat_is_missed_too(world: World):
    dead, alive = world.process("dead"), world.process("alive")
    epoch = await alive.jobs.epoch()
    asked = entry(epoch)
    await queued(dead.jobs, asked)
    await live_on(world, alive, 9)
    world.fast_forward(2)
    assert (await alive.jobs.beat(0)).reaped == 1
    assert await outcomes(alive) == [(asked.job_id, Outcome.LOST)]


async def test_a_process_that_beats_keeps_what_it_holds(world: World):
    p, q = world.process("p"), world.process("q")
    await queued(p.jobs, entry(await p.jobs.epoch()))
    for _ in range(5):
        await live_on(world, q, 8)
        await p.jobs.beat(1)
        assert (await q.jobs.beat(0)).reaped == 0


async def test_after_the_store_was_silent_the_living_are_waited_for_before_anybody_is_taken_for_dead(world: World):
    slow, quick = world.process("slow"), world.process("quick")
    await queued(slow.jobs, entry(await slow.jobs.epoch()))
    for _ in range(2):
        world.fast_forward(60)  # nobody is heard: it is the store that is away
        assert (await quick.jobs.beat(0)).reaped == 0
        world.fast_forward(2)
        assert (await quick.jobs.beat(0)).reaped == 0
        assert (await slow.jobs.beat(1)).held is None
    await live_on(world, quick, 12)
    assert await outcomes(quick) != []


async def test_a_dead_process_that_held_very_many_jobs_is_cleared_bit_by_bit(world: World):
    dead, alive = world.process("dead"), world.process("alive")
    epoch = await alive.jobs.epoch()
    for _ in range(250):
        await queued(dead.jobs, entry(epoch, max_queued=300))
    await live_on(world, alive, 9)
    world.fast_forward(2)
    assert [(await alive.jobs.beat(0)).reaped for _ in range(3)] == [200, 50, 0]
    assert len(await alive.outbox.read(1000)) == 250
    assert (await queued(alive.jobs, entry(epoch))).position == 1


# --- tally


async def test_a_tally_names_what_was_admitted_and_has_no_record_in_the_ledger_yet(world: World):
    p, q = world.process("p"), world.process("q")
    before = await world.now_us() / MICROSECONDS
    epoch = await pool_up(p, "a", "b")
    running, waiting, left, refused = (
        entry(epoch),
        entry(epoch, runnable_on=()),
        entry(epoch),
        entry(epoch, max_queued=0),
    )
    at = (await granted(p.jobs, running)).at
    gone_at = (await granted(q.jobs, left)).at
    await p.jobs.leave(leaving(left.job_id))
    waits_at = (await queued(q.jobs, waiting)).at
    assert await p.pool.hold(new_id(), "upkeep", "b")
    assert isinstance(await p.jobs.enter(refused), Refused)
    tally = await p.outbox.tally()
    assert (tally.count.admitted, tally.open, tally.unwritten) == (
        3,
        {running.job_id: at, waiting.job_id: waits_at},
        {left.job_id: gone_at},
    )
    assert before <= tally.count.since <= at <= tally.at
    assert await p.outbox.admitted() == tally.count


async def test_a_job_that_is_put_back_counts_again_only_where_its_admission_was_lost(world: World):
    p = world.process("p")
    old = entry(await p.jobs.epoch())
    place = await queued(p.jobs, old)
    world.fast_forward(1)
    await world.lose_everything()
    count = (await p.outbox.tally()).count
    assert count.admitted == 0
    await p.jobs.beat(0)
    world.fast_forward(1)
    await p.jobs.restore(new_id(), Remembered(old, place.at, None))
    assert (await p.outbox.admitted()).admitted == 0
    late = entry("")  # admitted after counting began, by writes that were lost
    await p.jobs.restore(new_id(), Remembered(late, await world.now_us() / MICROSECONDS, None))
    assert (await p.outbox.admitted()).admitted == 1


async def test_a_record_that_is_set_aside_is_kept_apart_counted_and_can_come_back(world: World):
    p = world.process("p")
    bad, good = entry(await p.jobs.epoch()), entry(await p.jobs.epoch(), tenant_id="other")
    for one in (bad, good):
        await queued(p.jobs, one)
        await p.jobs.leave(leaving(one.job_id))
    (token, record), (_, other) = await p.outbox.read(10)
    for _ in range(2):
        await p.outbox.set_aside(token, "it is refused")
    assert [kept for _, kept in await p.outbox.read(10)] == [other]
    assert (await p.outbox.aside(), await p.outbox.aside_count()) == ({token: "it is refused"}, 1)
    assert (await p.outbox.tally()).unwritten.keys() == {bad.job_id, good.job_id}
    for _ in range(2):
        await p.outbox.ask_again([token, "0-1"])
    assert [kept for _, kept in await p.outbox.read(10)] == [other, record]
    assert (await p.outbox.aside(), await p.outbox.aside_count()) == ({}, 0)
