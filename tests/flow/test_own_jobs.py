"""A caller's own jobs, over processes, in virtual time against simulated servers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from gateway.domain.jobs import Outcome
from gateway.domain.keys import digest_of
from gateway.flow.own_jobs import INTERRUPT, chosen
from gateway.ports import OwnJob, OwnJobs
from tests.flow.world import CALLER, NOTHING_HELD, now, running, until

pytestmark = pytest.mark.virtual_time
OTHER_KEY = "sk-" + "b" * 20
OTHER = replace(CALLER, key_id="k2", tenant_id="t2")


def own_job(job_id, position, task_id=""):
    return OwnJob(job_id, task_id, "one", 1.0, 0.0 if position else 2.0, position)


def test_the_oldest_running_job_is_shown_then_the_oldest_waiting_or_the_one_that_is_named():
    waiting, late, runs = own_job("w", 4), own_job("l", 5, "task(l)"), own_job("r", 0)
    assert chosen(OwnJobs((waiting, runs, late), 9, 0.0), "") is runs
    assert chosen(OwnJobs((waiting, late), 9, 0.0), "") is waiting
    assert chosen(OwnJobs((waiting, runs, late), 9, 0.0), "task(l)") is late
    assert chosen(OwnJobs((waiting, runs), 9, 0.0), "w") is waiting
    assert chosen(OwnJobs((waiting, runs), 9, 0.0), "theirs") is None
    assert chosen(OwnJobs((), 9, 0.0), "") is None


async def test_a_running_job_is_followed_at_most_once_a_second_and_half_as_often_once_nobody_looks():
    async with running() as world:
        call = world.asking(steps=20)
        await until(lambda: world.backends["a"].received("txt2img"))
        before = len(asked_for_progress(world))
        assert before == 0
        for _ in range(50):
            own = await world.process.gateway.work.progress(CALLER, with_preview=True)
            await asyncio.sleep(0.1)
        assert 0.1 < own.shown.progress < 0.9
        assert own.preview
        assert 3 <= len(asked_for_progress(world)) <= 7
        stopped = len(asked_for_progress(world))
        still_running_s = -now()
        await call
        assert len(asked_for_progress(world)) <= stopped + 1 + (still_running_s + now()) / 2 + 1


async def test_another_process_shows_the_job_too_and_can_end_it():
    async with running() as world:
        call = world.asking(steps=200)
        elsewhere = world.add_process("two")
        await until(lambda: world.backends["a"].received("txt2img"))
        own = None
        for _ in range(6):
            own = await elsewhere.gateway.work.progress(CALLER, with_preview=True)
            await asyncio.sleep(1.0)
        assert own is not None
        assert 0.01 < own.shown.progress < 0.5
        assert own.preview
        await elsewhere.gateway.work.end(CALLER, INTERRUPT)
        served = await call
        assert json.loads(json.loads(bytes(served.body))["info"])["interrupted"] is True
        assert [outcome for outcome, _ in await world.outcomes()] == [Outcome.INTERRUPTED]
        assert await world.settle() == NOTHING_HELD


async def test_a_waiting_job_that_is_ended_gives_an_empty_answer_and_never_runs():
    async with running() as world:
        world.keys.callers[digest_of(OTHER_KEY)] = OTHER
        first = world.asking(steps=30)
        await until(lambda: world.backends["a"].received("txt2img"))
        second = world.asking(key=OTHER_KEY)
        await until(lambda: len(world.store.waiting) == 1)
        seen = await world.process.gateway.work.progress(OTHER)
        assert (seen.position, seen.waiting, seen.queued) == (1, 1, 1)
        await world.process.gateway.work.end(CALLER, INTERRUPT, task_id="another")
        await world.process.gateway.work.end(OTHER, INTERRUPT)
        answer = json.loads(bytes((await second).body))
        assert (answer["images"], json.loads(answer["info"])["interrupted"]) == ([], True)
        assert len(json.loads(bytes((await first).body))["images"]) == 1
        assert len(world.backends["a"].received("txt2img")) == 1
        assert await world.settle() == NOTHING_HELD


async def test_the_backend_is_told_again_until_it_listens():
    async with running() as world:
        call = world.asking(sd_model_checkpoint="blue", steps=300)  # it loads first, and hears nothing meanwhile
        await until(lambda: world.backends["a"].received("txt2img"))
        await world.process.gateway.work.end(CALLER, INTERRUPT)
        assert json.loads(bytes((await call).body))["images"] == []
        assert len(world.backends["a"].received("interrupt")) > 1
        # The very next job of the same backend is not touched.
        assert len(json.loads(bytes((await world.ask(steps=2)).body))["images"]) == 1


async def test_while_the_store_is_away_a_process_shows_and_ends_the_jobs_that_it_holds():
    async with running() as world:
        world.keys.callers[digest_of(OTHER_KEY)] = OTHER
        call = world.asking(steps=60, force_task_id="task(mine)")
        await until(lambda: world.backends["a"].received("txt2img"))
        waits = world.asking(steps=1)
        await until(lambda: world.store.waiting)
        work = world.process.gateway.work
        world.process.jobs.is_away = True
        await until(lambda: any("StoreUnavailable" in loop.last_error for loop in world.process.supervisor.states))
        for _ in range(6):
            own = await work.progress(CALLER, with_preview=True)
            await asyncio.sleep(1.0)
        assert (own.task_id, own.position, own.queued) == ("task(mine)", 0, 1)
        assert 0.01 < own.shown.progress < 0.5
        assert own.preview
        (waiting,) = await work.pending(CALLER)
        assert (await work.progress(CALLER, task_id=waiting)).position == 1
        assert (await work.progress(OTHER)).is_idle
        await work.end(OTHER, INTERRUPT)
        await work.end(CALLER, INTERRUPT)
        await until(lambda: world.backends["a"].received("interrupt"))
        world.process.jobs.is_away = False
        assert json.loads(json.loads(bytes((await call).body))["info"])["interrupted"] is True
        await asyncio.wait([waits])


def asked_for_progress(world):
    return world.backends["a"].received("progress")
