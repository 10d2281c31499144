"""One attempt on one simulated backend."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from gateway.domain.errors import AttemptFailed, BackendBroke, BackendUnreachable, GatewayError
from gateway.domain.jobs import Operation
from gateway.domain.parameters import OperatorPolicy, ShapingContext, shape
from gateway.flow.forward import ASSUMED_SWAP_S, LEAST_RUN_LIMIT_S, Abandoned, Work, run_limit_s
from gateway.ports import Granted
from tests.flow.world import now, running, until
from tests.support.fake_backends import RED, sdnext

pytestmark = pytest.mark.virtual_time


def shaped_for(world, **fields):
    body = {"prompt": "a cat", "steps": 4, "width": 64, "height": 64, "sd_model_checkpoint": "red"} | fields
    context = ShapingContext(catalogue=world.process.current.catalogue, operator=OperatorPolicy())
    return shape(Operation.TXT2IMG, json.dumps(body).encode(), context)


async def forward(world, granted=None, work=None, **fields):
    granted = granted or Granted("a", "red", 0.0)
    return await world.process.forwarder.forward(shaped_for(world, **fields), granted, work or Work())


async def test_a_good_answer_is_given_on_with_how_long_it_took():
    async with running() as world:
        attempt = await forward(world, batch_size=2)
        assert (attempt.images, attempt.backend, attempt.had_to_load) == (2, "a", False)
        assert attempt.took_s == pytest.approx(8, abs=0.5)
        assert len(json.loads(bytes(attempt.body))["images"]) == 2


async def test_after_a_swap_the_backend_itself_is_asked_what_it_has_loaded():
    async with running() as world:
        asked = len(world.backends["a"].received("checkpoint"))
        attempt = await forward(world, sd_model_checkpoint="blue")
        assert attempt.had_to_load
        assert len(world.backends["a"].received("checkpoint")) > asked


async def test_a_checkpoint_that_another_took_the_place_of_is_no_good_answer():
    async with running() as world:
        engine = world.backends["a"].engine
        world.backends["a"].arm("slow,path=/sdapi/v1/checkpoint,seconds=8")
        failing = asyncio.get_running_loop().create_task(forward(world, sd_model_checkpoint="blue"))
        await until(lambda: engine.shelf.loaded is not None and "blue" in engine.shelf.loaded.checkpoint.title)
        await until(lambda: not engine.state.task)
        await engine.load(engine.checkpoint(RED))
        with pytest.raises(AttemptFailed, match="another model"):
            await failing


async def test_a_backend_that_was_removed_is_a_failed_attempt_and_nothing_is_sent():
    async with running() as world:
        del world.backends.declared["a"]
        work = Work()
        with pytest.raises(AttemptFailed, match="removed"):
            await forward(world, work=work)
        assert (world.backends["a"].received("txt2img"), work.is_under_way) == ([], False)


async def test_a_refused_connection_reports_the_backend_down_and_leaves_no_work_there():
    async with running() as world:
        world.backends["a"].is_refusing = True
        work = Work()
        with pytest.raises(BackendUnreachable):
            await forward(world, work=work)
        assert (world.store.states["a"], work.is_under_way) == ("down", False)


async def test_a_connection_that_broke_may_have_left_work_there():
    async with running() as world:
        work = Work()
        failing = asyncio.get_running_loop().create_task(forward(world, work=work))
        await until(lambda: world.backends["a"].received("txt2img"))
        world.backends["a"].break_connections()
        with pytest.raises(BackendBroke):
            await failing
        assert (world.store.states["a"], work.is_under_way) == ("down", True)


async def test_a_run_limit_that_passes_abandons_the_backend_at_its_work():
    async with running() as world:
        world.backends["a"].arm_once("hang")
        began, work = now(), Work()
        with pytest.raises(Abandoned):
            await forward(world, work=work)
        assert (now() - began, work.is_under_way) == (pytest.approx(LEAST_RUN_LIMIT_S, abs=1), True)


async def test_a_backend_that_wants_a_password_is_set_aside():
    async with running() as world:
        world.backends["a"].arm_once("401")
        with pytest.raises(AttemptFailed):
            await forward(world)
        assert world.store.states["a"] == "set_aside"


async def test_a_compressed_answer_is_not_unpacked():
    async with running() as world:
        world.backends["a"].arm_once("gzip")
        with pytest.raises(AttemptFailed, match="compressed"):
            await forward(world)


async def test_a_store_that_is_away_does_not_hide_why_an_attempt_failed():
    async with running() as world:
        world.process.jobs.is_away = True
        world.backends["a"].is_refusing = True
        with pytest.raises(BackendUnreachable):
            await forward(world)


@pytest.mark.parametrize(
    "fault", ["500", "empty", "wrong-model", "reset", "cut-json", "bad-utf8", "html", "oom", "truncated", "429"]
)
async def test_no_failure_comes_out_as_a_group_of_errors_or_as_a_foreign_one(fault):
    async with running() as world:
        world.backends["a"].arm_once(fault)
        with pytest.raises(GatewayError) as failed:
            await forward(world)
        assert isinstance(failed.value, AttemptFailed)
        assert str(failed.value)


async def test_a_cancelled_attempt_whose_connection_then_breaks_stays_cancelled():
    async with running() as world:
        work = Work()
        world.backends["a"].arm_once("hang")
        leaving = asyncio.get_running_loop().create_task(forward(world, work=work))
        await until(lambda: world.backends["a"].received("txt2img"))
        leaving.cancel()
        await asyncio.sleep(5)
        world.backends["a"].break_connections()
        await asyncio.wait([leaving])
        assert (leaving.cancelled(), work.is_under_way) == (True, True)


async def test_interrupts_go_on_though_the_backend_does_not_answer_them():
    async with running() as world:
        world.backends["a"].arm_once("hang")
        world.backends["a"].arm("hang,path=/sdapi/v1/interrupt,times=3")
        leaving = asyncio.get_running_loop().create_task(forward(world))
        await until(lambda: world.backends["a"].received("txt2img"))
        leaving.cancel()
        await until(lambda: len(world.backends["a"].received("interrupt")) > 5)
        assert not leaving.done()
        await asyncio.wait([leaving])


async def test_the_run_limit_is_four_times_the_estimate_and_two_swaps_but_never_less_than_two_minutes():
    async with running({"a": sdnext()}) as world:
        small = shaped_for(world)
        large = replace(small, price=replace(small.price, megapixel_steps=1000.0))
        assert run_limit_s(small) == LEAST_RUN_LIMIT_S
        assert run_limit_s(large) == 4 * 1000.0 * 0.5 + 2 * ASSUMED_SWAP_S
        upscale = replace(small, model=None, price=replace(small.price, output_megapixels=100.0))
        assert run_limit_s(upscale) == 4 * 100.0 * 2.0 + 2 * ASSUMED_SWAP_S
