"""The forecast as those read it whom it concerns: callers who wait, callers who are refused, operators."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from gateway.domain.errors import NoCapacity
from gateway.domain.jobs import Operation
from gateway.domain.scheduling import Forecast
from gateway.flow.explain import Explainer
from gateway.flow.foresee import Foresight, unhurried
from gateway.flow.look import Onlooker
from tests.flow.world import CALLER, PLAN, running, until
from tests.support.fake_backends import sdnext

pytestmark = pytest.mark.virtual_time


async def test_a_waiting_caller_an_explained_call_and_the_operator_are_told_the_same_wait():
    async with running({"a": sdnext()}) as world:
        world.asking(steps=30, width=1024, height=1024)
        await until(lambda: "a" in world.store.slots)
        world.asking(steps=4)
        await until(lambda: world.store.waiting and world.store.forecast.jobs)
        (job_id,) = world.store.waiting
        told = world.store.forecast.jobs[job_id]
        work = world.process.gateway.work
        own = await work.progress(CALLER, task_id=job_id)
        (line,) = (await Onlooker(world.process.jobs, world.ledger).queue()).waiting
        assert own.eta_s > 0
        assert own.eta_s == pytest.approx(told.starts_at - own.at)
        assert line.starts_in_s == pytest.approx(own.eta_s, abs=0.1)
        assert (line.ahead, line.why) == (0, "1 runs another job")
        body = json.dumps({"prompt": "a cat", "sd_model_checkpoint": "red", "steps": 4}).encode()
        explained = await Explainer(world.process.gateway).explain(Operation.TXT2IMG, body, CALLER)
        assert explained["pool"]["waiting_jobs"] == 1
        assert explained["pool"]["expected_wait_s"] == pytest.approx(
            max(world.store.forecast.models["red"], told.starts_at - own.at), abs=0.1
        )


async def test_a_job_shows_the_operator_when_it_should_start_and_why_it_waits():
    async with running({"a": sdnext()}) as world:
        world.asking(steps=30, width=1024, height=1024)
        await until(lambda: "a" in world.store.slots)
        world.asking(steps=4)
        await until(lambda: world.store.waiting and world.store.forecast.jobs)
        (job_id,) = world.store.waiting
        line, record = await Onlooker(world.process.jobs, world.ledger).job(job_id)
        assert (line.state, line.why, line.ahead, record) == ("waiting", "1 runs another job", 0, None)
        assert line.starts_at == world.store.forecast.jobs[job_id].starts_at


async def test_a_caller_who_waited_too_long_is_told_when_to_come_again():
    async with running({"a": sdnext()}, caller=replace(CALLER, plan=replace(PLAN, max_wait_s=3.0))) as world:
        world.backends["a"].engine.hold("inference")
        world.asking(steps=100, width=1024, height=1024)
        await until(lambda: "a" in world.store.slots)
        with pytest.raises(NoCapacity) as refused:
            await world.ask(steps=4)
        assert refused.value.retry_after_s == world.store.forecast.models["red"] > 10.0
        world.backends["a"].engine.release("inference")


async def test_nothing_is_foretold_by_a_process_that_does_not_lead():
    async with running() as world:
        idle = Foresight(world.process.dispatcher, world.process.jobs)
        assert await idle.step()
        world.process.dispatcher._stand_by()
        assert not await idle.step()


async def test_a_long_computation_rests_between_its_slices():
    """The clock stands still while this computes, but each step says that it took two milliseconds."""
    loop = asyncio.get_running_loop()

    def steps():
        for _ in range(10):
            loop.now += 0.002
            yield
        return Forecast({}, {}, {"m": 1.0})

    begun = loop.time()
    assert await unhurried(steps()) == Forecast({}, {}, {"m": 1.0})
    assert loop.time() - begun == pytest.approx(10 * 0.002 + 10 * 4 * 0.002)
