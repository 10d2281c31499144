"""A process's tie to the store: heartbeats, orphans, missed words."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.domain.jobs import Outcome
from gateway.flow.pulse import LOOKED_AT_ONCE
from tests.flow.test_dispatch import entry
from tests.flow.world import CALLER, NOTHING_HELD, PLAN, now, running, until
from tests.support.fake_backends import sdnext

pytestmark = pytest.mark.virtual_time


async def test_a_job_that_nobody_here_answers_for_is_disowned_at_the_next_heartbeat():
    async with running() as world:
        await world.process.jobs.enter(entry("orphan", store=world.store, backends=("a",), checkpoint=""))
        assert world.store.slots["a"].job_id == "orphan"
        began = now()
        await until(lambda: world.store.slots.get("a") is None or world.store.slots["a"].is_recovering)
        assert now() - began <= 2.2
        assert await world.settle() == NOTHING_HELD
        (record,) = await world.records()
        assert (record.outcome, record.reason) == (Outcome.FAILED, "the store's answer to entering was lost")


async def test_a_job_under_way_to_the_store_is_not_disowned():
    async with running() as world:
        world.process.jobs.slow["enter"] = 5.0  # admitted, the answer takes its time
        await world.ask(steps=1)
        assert await world.outcomes() == [(Outcome.FINISHED, "a")]


async def test_a_job_that_leaves_while_the_heartbeat_is_under_way_is_recorded_once_and_frees_its_backend():
    async with running() as world:
        world.process.jobs.slow["beat"] = 0.7
        for _ in range(20):
            await world.ask(steps=1)
        assert await world.settle() == NOTHING_HELD
        assert {outcome for outcome, _ in await world.outcomes()} == {Outcome.FINISHED}
        assert world.backends["a"].received("interrupt") == []


async def test_a_store_that_lost_everything_is_told_again_what_runs_and_who_waits_and_every_call_is_served():
    async with running() as world:
        second = world.add_process("two")
        await until(lambda: second.current.catalogue.backends)
        first = world.asking(steps=8)
        await until(lambda: world.store.slots)
        others = [world.asking(process) for process in (world.process, second, world.process)]
        await until(lambda: len(world.store.waiting) == 3)
        order = world.store.waiting
        world.store.lose_everything()
        await until(lambda: len(world.store.waiting) == 3)
        assert world.store.waiting == order
        assert world.store.slots["a"].tenant == "t1"
        served = await asyncio.gather(first, *others)
        assert await world.settle() == NOTHING_HELD
        assert sorted(record.job_id for record in await world.records()) == sorted(one.job_id for one in served)
        assert [outcome for outcome, _ in await world.outcomes()] == [Outcome.FINISHED] * 4
        assert len(world.backends["a"].received("txt2img")) == 4


async def test_a_store_that_lost_everything_grants_nothing_until_every_process_had_a_lease_to_speak():
    async with running({"a": sdnext(), "b": sdnext()}) as world:
        world.store.lose_everything()
        began = now()
        await world.ask(steps=1)
        assert 10.0 <= now() - began <= 14.0


async def test_records_that_were_lost_on_their_way_to_the_ledger_are_written_again_and_none_twice():
    async with running() as world:
        world.ledger.is_away = True
        served = [await world.ask(steps=1) for _ in range(3)]
        assert len(world.store.outbox) == 3
        world.store.lose_everything()
        world.ledger.is_away = False
        await until(lambda: len(world.ledger.records) == 3)
        assert {record.job_id: record.backend for record in await world.records()} == {
            one.job_id: "a" for one in served
        }
        assert await world.settle() == NOTHING_HELD


async def test_a_job_that_ends_before_the_process_knows_of_the_loss_is_recorded_all_the_same():
    async with running() as world:
        call = world.asking(steps=3)
        await until(lambda: world.store.slots)
        world.process.jobs.slow["beat"] = 30.0
        await asyncio.sleep(1.5)  # a heartbeat is under way
        world.store.lose_everything()
        served = await call
        assert [record.job_id for record in await world.records()] == [served.job_id]
        world.process.jobs.slow.clear()
        assert await world.settle(60) == NOTHING_HELD
        assert [outcome for outcome, _ in await world.outcomes()] == [Outcome.FINISHED]


async def test_lists_are_answered_from_the_last_snapshot_while_a_new_store_has_none():
    async with running() as world:
        models = [model.name for model in world.process.current.catalogue.models]
        world.store.lose_everything()
        for _ in range(50):
            await asyncio.sleep(0.1)
            assert [model.name for model in world.process.current.catalogue.models] == models
        assert list(world.store.catalogue) == ["a"]


async def test_after_an_outage_of_the_store_no_living_process_is_taken_for_dead():
    async with running() as world:
        second = world.add_process("two")
        await until(lambda: second.current.catalogue.backends)
        first = world.asking(steps=40)
        await until(lambda: world.store.slots)
        waiting = world.asking(second, steps=1)
        await until(lambda: world.store.waiting)
        for process in world.processes:
            process.jobs.is_away = True
        await asyncio.sleep(20)
        world.process.jobs.is_away = False
        await asyncio.sleep(2.5)  # the other one is heard a little later
        second.jobs.is_away = False
        await asyncio.gather(first, waiting)
        assert {outcome for outcome, _ in await world.outcomes()} == {Outcome.FINISHED}
        assert await world.settle() == NOTHING_HELD


async def test_a_new_epoch_reaches_the_process_within_a_heartbeat():
    async with running() as world:
        await world.process.jobs.keys_changed()
        await asyncio.sleep(1.5)
        assert world.process.epoch.current == world.store.epoch


async def test_a_process_that_comes_back_from_an_outage_serves_again_without_being_restarted():
    async with running() as world:
        world.process.jobs.is_away = True
        await asyncio.sleep(120)
        world.process.jobs.is_away = False
        await until(lambda: world.process.dispatcher.is_leading)
        await world.ask(steps=1)
        assert world.process.failures == []


async def test_every_waiting_job_is_looked_up_in_turn_however_many_wait():
    many = LOOKED_AT_ONCE + 50
    plan = replace(PLAN, max_concurrency=1000, max_queued=1000)
    async with running({"a": sdnext()}, caller=replace(CALLER, plan=plan)) as world:
        first = world.asking(steps=100)
        await until(lambda: world.store.slots)
        calls = [world.asking(steps=1) for _ in range(many)]
        await until(lambda: len(world.store.waiting) == many)
        world.process.jobs.calls.clear()
        await asyncio.sleep(2.5)
        looked = {job_id for ids in world.process.jobs.named("look") for job_id in ids}
        assert looked == set(world.store.waiting)
        assert max(len(ids) for ids in world.process.jobs.named("look")) <= LOOKED_AT_ONCE
        for call in (first, *calls):
            call.cancel()
        await asyncio.wait([first, *calls])
        assert await world.settle() == NOTHING_HELD


async def test_the_jobs_of_a_process_that_died_are_recorded_lost_and_their_backend_comes_back():
    async with running() as world:
        second = world.add_process("two")
        await until(lambda: second.current.catalogue.backends)
        call = world.asking(second, steps=100)
        await until(lambda: world.store.slots)
        await world.kill(second)
        second.jobs.is_away = True
        await until(lambda: not world.store.slots, within_s=120)
        assert await world.outcomes() == [(Outcome.LOST, "a")]
        call.cancel()
        await asyncio.wait([call])
        await world.ask(steps=1)


async def test_a_process_that_ends_beats_until_its_last_leaving_is_heard_by_the_store():
    async with running() as world:
        process, call = world.process, world.asking(steps=1)
        await until(lambda: world.store.slots)
        process.jobs.is_away = True
        await call
        world.loops["one"].cancel()
        assert process.way_out.unheard == 1
        asyncio.get_running_loop().call_later(2.0, setattr, process.jobs, "is_away", False)
        began = now()
        await process.pulse.beat_last(5.0)
        assert 2.0 <= now() - began < 3.0
        assert (process.way_out.unheard, len(world.store.outbox)) == (0, 1)


async def test_a_process_that_ends_waits_no_longer_than_that_for_a_store_that_stays_away():
    async with running() as world:
        process, call = world.process, world.asking(steps=1)
        await until(lambda: world.store.slots)
        began = now()
        await process.pulse.beat_last(5.0)
        assert now() == began  # nothing is unheard
        process.jobs.is_away = True
        await call
        began = now()
        await process.pulse.beat_last(5.0)
        assert now() - began == pytest.approx(5.0)
        assert process.way_out.unheard == 1
        process.jobs.is_away = False
