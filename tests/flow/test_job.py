"""The life of one job within its call."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from gateway.domain.errors import AttemptFailed, StoreUnavailable
from gateway.domain.jobs import Outcome
from gateway.domain.replies import AnswerBody
from gateway.flow.forward import Attempt
from gateway.flow.job import Job
from tests.flow.test_forward import shaped_for
from tests.flow.world import CALLER, NOTHING_HELD, PLAN, Lines, now, running, until
from tests.support.fake_backends import sdnext

pytestmark = pytest.mark.virtual_time


def job_of(world, *, caller=CALLER, **fields):
    process = world.process
    return Job("j1", caller, shaped_for(world, **fields), "req-1", process.way_out, process.log)


class FullDisk(Lines):
    """A log that can write nothing any more."""

    def call(self, **_fields):
        raise OSError(28, "No space left on device")


def entered(world, job):
    return job.entered(world.process.gateway.entrance.enter, world.process.epoch.current)


def attempt(backend="a", **changes):
    return replace(Attempt(AnswerBody(()), 1, (), backend, 2.0, had_to_load=False), **changes)


async def test_a_delivered_job_is_recorded_with_what_it_asked_and_took():
    async with running() as world:
        job = job_of(world, batch_size=2)
        async with entered(world, job):
            granted = await job.backend()
            job.delivered(attempt(granted.backend, images=2, body=AnswerBody((("a", (b"1",)),))))
        (record,) = await world.records()
        assert (record.outcome, record.model, record.backend, record.attempts) == (Outcome.FINISHED, "red", "a", 1)
        assert (record.images, record.gpu_seconds, record.swap_s, record.bytes_out) == (2, 2.0, 0.0, len(b'{"a":1}'))
        assert (record.steps, record.width, record.height, record.tenant_id) == (4, 64, 64, "t1")
        assert world.store.loaded == {"a": "red"}


async def test_a_swap_is_told_apart_from_the_generation():
    async with running() as world:
        job = job_of(world)
        async with entered(world, job):
            job.delivered(attempt((await job.backend()).backend, took_s=30.0, had_to_load=True))
        assert job.timing.generation_s < 1.0
        assert job.timing.swap_s + job.timing.generation_s == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (AttemptFailed("no"), Outcome.FAILED),
        (asyncio.CancelledError(), Outcome.INTERRUPTED),
        (RuntimeError("a defect of ours"), Outcome.FAILED),
    ],
)
async def test_whatever_ends_the_block_goes_on_and_the_job_has_left(error, outcome):
    async with running() as world:
        job = job_of(world)

        async def call():
            async with entered(world, job):
                await job.backend()
                raise error

        with pytest.raises(type(error)) as raised:
            await call()
        assert raised.value is error
        assert world.holdings() == NOTHING_HELD
        assert await world.outcomes() == [(outcome, "a")]


async def test_leaving_that_is_cancelled_again_and_again_is_carried_out():
    async with running() as world:
        job = job_of(world)
        world.process.jobs.slow["leave"] = 5.0

        async def call():
            async with entered(world, job):
                job.delivered(attempt((await job.backend()).backend))

        calling = asyncio.get_running_loop().create_task(call())
        await asyncio.sleep(0.1)
        for _ in range(10):
            calling.cancel()
            await asyncio.sleep(0.1)
        assert not calling.done()
        await asyncio.wait([calling])
        assert calling.cancelled()
        assert world.holdings() == NOTHING_HELD
        assert await world.outcomes() == [(Outcome.FINISHED, "a")]


async def test_a_line_that_cannot_be_written_is_one_plain_error_and_the_job_has_left():
    async with running() as world:
        job = job_of(world)
        job._log = FullDisk()
        with pytest.raises(OSError, match="No space left"):
            async with entered(world, job):
                job.delivered(attempt((await job.backend()).backend))
        assert await world.outcomes() == [(Outcome.FINISHED, "a")]
        assert world.holdings() == NOTHING_HELD


async def test_a_job_that_asks_again_gives_its_slot_back_and_never_gets_the_same_backend():
    async with running({"a": sdnext(), "b": sdnext()}) as world:
        job = job_of(world)
        async with entered(world, job):
            first = await job.backend()
            job.failed_on(first.backend, AttemptFailed("broken"))
            await job.ask_again(world.process.jobs)
            second = await job.backend()
            assert {first.backend, second.backend} == {"a", "b"}
            assert [slot.job_id for slot in world.store.slots.values()] == ["j1"]
            job.delivered(attempt(second.backend))
        (record,) = await world.records()
        assert (record.attempts, record.backend, record.reason) == (2, second.backend, f"{first.backend}: broken")


async def test_a_job_that_the_store_lost_meanwhile_cannot_ask_again():
    async with running({"a": sdnext(), "b": sdnext()}) as world:
        job = job_of(world)

        async def call():
            async with entered(world, job):
                job.failed_on((await job.backend()).backend, AttemptFailed("broken"))
                world.store.lose_everything()
                await job.ask_again(world.process.jobs)

        with pytest.raises(StoreUnavailable, match="lost this job"):
            await call()
        assert await world.settle() == NOTHING_HELD


async def test_a_job_is_late_from_its_deadline_on():
    async with running() as world:
        job = job_of(world, caller=replace(CALLER, plan=replace(PLAN, max_wait_s=10.0)))
        async with entered(world, job):
            await job.backend()
            assert not job.is_late
            await asyncio.sleep(10)
            assert job.is_late
            job.delivered(attempt())


async def test_a_slot_granted_too_late_to_be_used_is_not_believed_to_have_loaded_anything():
    async with running() as world:
        job = job_of(world, sd_model_checkpoint="blue")
        async with entered(world, job):
            await until(lambda: world.store.slots)  # granted, and the call ends without having looked
        assert world.store.loaded.get("a") != "blue"


async def test_the_time_in_the_queue_is_measured():
    async with running() as world:
        busy = world.asking(steps=10)
        await until(lambda: world.store.slots)
        began = now()
        job = job_of(world)
        async with entered(world, job):
            await job.backend()
            assert job.timing.queue_s == pytest.approx(now() - began, abs=0.01)
            job.delivered(attempt())
        await busy
        assert job.timing.queue_s > 5


async def test_the_line_in_the_log_has_what_the_record_has():
    async with running() as world:
        job = job_of(world)
        async with entered(world, job):
            job.delivered(attempt((await job.backend()).backend))
        (line,) = world.process.log.calls
        assert {"request_id", "job_id", "tenant", "key", "operation", "model", "backend", "outcome"} <= line.keys()
        assert json.dumps(line)
