"""Rescans that callers ask for: when, how often, and where not, over simulated SD.Next servers."""

from __future__ import annotations

import asyncio

import pytest

from gateway.flow.rescan import AT_MOST_EVERY_S
from gateway.flow.upkeep import RESCANS
from tests.flow.world import NOTHING_HELD, running, until
from tests.support.fake_backends import BLUE, RED, sdnext

pytestmark = pytest.mark.virtual_time

GREEN = "Diffusers/green"
TWO = {"a": sdnext(new_models=(GREEN,)), "b": sdnext(new_models=(GREEN,))}


def rescans(world, backend="a"):
    """When that backend was told to look for checkpoints, in seconds of the loop."""
    return [entry["at"] for entry in world.backends[backend].received("refresh-checkpoints")]


def models(process):
    return [model.name for model in process.current.catalogue.models]


async def test_a_new_file_is_listed_after_a_wish_and_each_backend_is_asked_for_all_it_has():
    async with running(TWO) as world:
        assert models(world.process) == ["blue", "red"]
        await world.process.rescans.ask()
        await until(lambda: models(world.process) == ["blue", "green", "red"])
        for name in ("a", "b"):
            assert [len(world.backends[name].received(kind)) for kind in RESCANS] == [1, 1, 1]
        assert await world.settle() == NOTHING_HELD


async def test_without_a_wish_no_backend_rescans():
    async with running(TWO) as world:
        await asyncio.sleep(700)
        assert rescans(world) == rescans(world, "b") == []


async def test_wishes_of_a_minute_are_one_rescan_and_one_that_came_late_is_kept_for_the_next():
    async with running(TWO) as world:
        for _ in range(50):
            await world.process.rescans.ask()
            await asyncio.sleep(0.5)
        await asyncio.sleep(AT_MOST_EVERY_S - 30)
        assert len(rescans(world)) == len(rescans(world, "b")) == 1
        await until(lambda: len(rescans(world)) == 2)
        first, second = rescans(world)
        assert AT_MOST_EVERY_S <= second - first < AT_MOST_EVERY_S + 3
        await asyncio.sleep(600)
        assert len(rescans(world)) == 2


async def test_a_backend_at_work_is_rescanned_once_its_job_has_ended():
    async with running({"a": sdnext(new_models=(GREEN,))}) as world:
        call = world.asking(steps=30)
        await until(lambda: world.store.slots)
        await world.process.rescans.ask()
        await asyncio.sleep(20)
        assert rescans(world) == []
        await call
        await until(lambda: rescans(world))


async def test_a_call_that_comes_during_a_rescan_waits_for_its_end_and_is_served():
    async with running({"a": sdnext(rescan_seconds=20.0)}) as world:
        await world.process.rescans.ask()
        await until(lambda: "a" in world.process.upkeep.rescanning)
        assert world.backends["a"].engine.shelf.listed == []
        served = await world.ask(sd_model_checkpoint="blue")
        assert served.timing.queue_s > 10
        assert models(world.process) == ["blue", "red"]


async def test_the_next_leader_keeps_the_minute_and_fulfils_no_wish_again():
    async with running({"a": sdnext(RED, BLUE)}) as world:
        second = world.add_process("two")
        await world.process.rescans.ask()
        await until(lambda: second.current.published and second.current.published["a"].rescan.wish)
        await world.kill(world.process)
        await until(lambda: second.dispatcher.is_leading)
        await asyncio.sleep(10)
        assert len(rescans(world)) == 1
        await second.rescans.ask()
        await until(lambda: len(rescans(world)) == 2)
        first, other = rescans(world)
        assert other - first >= AT_MOST_EVERY_S
        await asyncio.sleep(100)
        assert len(rescans(world)) == 2


async def test_a_backend_that_breaks_off_is_asked_again_after_a_minute():
    async with running({"a": sdnext(new_models=(GREEN,))}) as world:
        world.backends["a"].arm_once("reset", path="/sdapi/v1/refresh-checkpoints")
        await world.process.rescans.ask()
        await until(lambda: rescans(world))
        await asyncio.sleep(AT_MOST_EVERY_S - 10)
        assert (len(rescans(world)), world.holdings()) == (1, NOTHING_HELD)
        await until(lambda: models(world.process) == ["blue", "green", "red"])
