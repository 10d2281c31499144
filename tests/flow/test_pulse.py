"""A process's tie to the store: heartbeats, orphans, missed words."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.domain.errors import StoreUnavailable
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


async def test_waiting_calls_are_told_when_the_store_lost_everything():
    async with running() as world:
        running_call = world.asking(steps=20)
        await until(lambda: world.store.slots)
        waiting = world.asking()
        await until(lambda: world.store.waiting)
        world.store.lose_everything()
        with pytest.raises(StoreUnavailable, match="lost the queue"):
            await waiting
        await running_call  # its picture is made and answered all the same
        assert len(world.process.held) == 0


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
        assert {type(error) for _, error in world.process.failures} == {StoreUnavailable}


async def test_every_waiting_job_is_looked_up_each_second_however_many_wait():
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
