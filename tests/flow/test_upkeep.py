"""Options that must have one value, set under the slot."""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.errors import AttemptFailed, StoreUnavailable
from gateway.flow.upkeep import MANAGED_OPTIONS, Upkeep
from tests.flow.world import NOTHING_HELD, running, until
from tests.support.fake_backends import sdnext

pytestmark = pytest.mark.virtual_time


def options_of(world):
    return world.backends["a"].engine.server_options


async def test_an_option_that_is_not_listed_has_its_default_and_that_is_wrong():
    async with running() as world:
        backend = world.backends.declared["a"]
        assert await world.process.upkeep.wrong_options(backend) == {}
        for name in MANAGED_OPTIONS:
            options_of(world).set(name, world.backends["a"].simulation.facts.options[name].default)
        assert await world.process.upkeep.wrong_options(backend) == MANAGED_OPTIONS
        assert await world.process.upkeep.make_fit(backend) == ""
        assert await world.process.upkeep.wrong_options(backend) == {}


async def test_nothing_is_written_and_no_slot_taken_where_all_is_right():
    async with running() as world:
        held = len(world.process.jobs.named("hold"))
        assert await world.process.upkeep.make_fit(world.backends.declared["a"]) == ""
        assert len(world.process.jobs.named("hold")) == held


@pytest.mark.parametrize("is_told", [True, False], ids=["with its defaults told", "without"])
async def test_what_an_option_was_is_kept_before_it_is_set_the_default_where_it_is_not_listed(is_told):
    async with running(ready=False) as world:
        process, backend, server, kept = world.process, world.backends.declared["a"], world.backends["a"], []

        async def keep(name, options):
            kept.append((name, dict(options), await process.upkeep.wrong_options(backend)))

        options_of(world).set("samples_format", "webp")
        if not is_told:
            server.arm_once("500", path="/sdapi/v1/options-info")
        upkeep = Upkeep(world.backends, process.jobs, process.jobs, process.held, keep)
        assert await upkeep.make_fit(backend) == ""
        assert await upkeep.make_fit(backend) == ""
        facts = server.simulation.facts.options
        unlisted = {name: facts[name].default for name in MANAGED_OPTIONS if is_told}
        assert kept == [("a", unlisted | {"samples_format": "webp"}, MANAGED_OPTIONS)]


async def test_options_that_do_not_take_are_told():
    async with running() as world:
        options_of(world).set("samples_format", "jpg")
        world.backends["a"].arm("500,path=/sdapi/v1/options,after=1,times=1")
        reason = await world.process.upkeep.make_fit(world.backends.declared["a"])
        assert reason == "It was told samples_format and keeps another value: look into its log."
        assert world.holdings() == NOTHING_HELD


@pytest.mark.parametrize("fault", ["html", "500", "cut-json", "bad-utf8"])
async def test_options_that_cannot_be_read_are_a_failed_attempt(fault):
    async with running() as world:
        world.backends["a"].arm_once(fault, path="/sdapi/v1/options")
        with pytest.raises(AttemptFailed):
            await world.process.upkeep.wrong_options(world.backends.declared["a"])


@pytest.mark.parametrize("after", [1, 2])
async def test_a_backend_that_fails_at_its_upkeep_gives_the_slot_back(after):
    async with running() as world:
        options_of(world).set("samples_format", "jpg")
        world.backends["a"].arm(f"reset,path=/sdapi/v1/options,after={after},times=1")
        with pytest.raises(AttemptFailed):
            await world.process.upkeep.make_fit(world.backends.declared["a"])
        assert await world.settle() == NOTHING_HELD


@pytest.mark.parametrize("lost", ["hold", "leave"])
async def test_an_answer_lost_during_upkeep_leaves_the_slot_to_the_next_heartbeat(lost):
    async with running() as world:
        options_of(world).set("samples_format", "jpg")
        world.process.jobs.lost_answers.append(lost)
        with pytest.raises(StoreUnavailable):
            await world.process.upkeep.make_fit(world.backends.declared["a"])
        assert await world.settle() == NOTHING_HELD


async def test_an_upkeep_that_is_cancelled_leaves_the_slot_to_the_next_heartbeat():
    async with running() as world:
        options_of(world).set("samples_format", "jpg")
        world.backends["a"].arm("slow,path=/sdapi/v1/options,after=1,times=1,seconds=30")
        working = asyncio.get_running_loop().create_task(world.process.upkeep.make_fit(world.backends.declared["a"]))
        await until(lambda: world.store.slots)
        working.cancel()
        await asyncio.wait([working])
        assert await world.settle() == NOTHING_HELD


async def test_a_store_that_lost_everything_is_told_which_backends_upkeep_is_under_way_on():
    async with running({"a": sdnext(), "b": sdnext()}) as world:
        options_of(world).set("samples_format", "jpg")
        world.backends["a"].arm("slow,path=/sdapi/v1/options,after=1,times=1,seconds=40")
        working = asyncio.get_running_loop().create_task(world.process.upkeep.make_fit(world.backends.declared["a"]))
        await until(lambda: world.store.slots)
        job_id = world.store.slots["a"].job_id
        world.store.lose_everything()
        await until(lambda: world.store.slots)
        assert {name: slot.job_id for name, slot in world.store.slots.items()} == {"a": job_id}
        for _ in range(3):
            await world.ask()
        assert [len(world.backends[name].received("txt2img")) for name in "ab"] == [0, 3]
        assert await working == ""
        assert await world.settle() == NOTHING_HELD
