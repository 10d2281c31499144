"""A failure that follows the request costs nobody a reload; a poisoned checkpoint is found and loaded anew."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.domain.errors import GatewayError, GenerationFailed
from gateway.domain.jobs import Operation
from tests.flow.world import NOTHING_HELD, running, until
from tests.support.fake_backends import BLUE, RED, sdnext

pytestmark = pytest.mark.virtual_time

PNDM = sdnext(schedulers={RED: "PNDM", BLUE: "PNDM"})


def forced_loads(server):
    return len(server.received("checkpoint")) - sum(entry["method"] == "GET" for entry in server.received("checkpoint"))


def probes(server):
    return [entry for entry in server.received("txt2img") if entry["body"]["prompt"] == ""]


def is_sound(server):
    loaded = server.engine.shelf.loaded
    return loaded is not None and not loaded.poisoned


async def fails(world, **fields):
    with pytest.raises(GenerationFailed):
        await world.ask(**fields)


async def test_plms_with_three_steps_makes_a_picture_of_four_and_nothing_is_loaded_anew():
    async with running({"a": PNDM}) as world:
        served = await world.ask(sampler_name="PLMS", steps=3)
        assert "steps=4 (clamped from 3)" in served.adjustments
        assert len(json.loads(bytes(served.body))["images"]) == 1
        await world.settle()
        assert (forced_loads(world.backends["a"]), probes(world.backends["a"])) == (0, [])


async def impossible_strength(world):
    """img2img whose sampler plans for more steps than a checkpoint was trained with."""
    (image,) = json.loads(bytes((await world.ask()).body))["images"]
    return {"operation": Operation.IMG2IMG, "init_images": [image], "sampler_name": "DDIM", "denoising_strength": 0.001}


@pytest.mark.parametrize("pool", [("a",), ("a", "b")], ids=["one backend", "two backends"])
@pytest.mark.parametrize("kind", ["a strength", "some future request"])
async def test_whoever_keeps_sending_what_cannot_work_has_nobodys_checkpoint_loaded_anew(pool, kind):
    async with running(dict.fromkeys(pool, PNDM)) as world:
        fields = await impossible_strength(world) if kind == "a strength" else {}
        loads = {name: server.engine.counters.loads for name, server in world.backends.servers.items()}
        for number in range(2):
            for server in world.backends.servers.values():
                server.simulation.faults.clear()
                if kind != "a strength":
                    server.arm_once("oom")
            await fails(world, **fields, seed=number)
            await world.settle()
        for name, server in world.backends.servers.items():
            assert (forced_loads(server), server.engine.counters.loads) == (0, loads[name])
            assert len(probes(server)) <= 1
        assert len(json.loads(bytes((await world.ask()).body))["images"]) == 1


@pytest.mark.parametrize("pool", [("a",), ("a", "b")], ids=["one backend", "two backends"])
async def test_a_checkpoint_that_makes_nothing_for_anybody_is_loaded_anew_once(pool):
    async with running(dict.fromkeys(pool, PNDM)) as world:
        for server in world.backends.servers.values():
            server.engine.shelf.loaded.poisoned = True
        await fails(world)
        await until(lambda: all(is_sound(server) for server in world.backends.servers.values()))
        assert [forced_loads(server) for server in world.backends.servers.values()] == [1] * len(pool)
        assert len(json.loads(bytes((await world.ask(seed=2)).body))["images"]) == 1
        assert await world.settle() == NOTHING_HELD


async def test_a_checkpoint_that_another_one_has_replaced_meanwhile_costs_neither_a_swap_nor_a_reload():
    async with running({"a": PNDM}) as world:
        world.backends["a"].arm_once("empty")
        failing = world.asking()
        await until(lambda: world.store.slots)
        other = world.asking(sd_model_checkpoint="blue")
        await asyncio.wait([failing])
        await asyncio.wait([other])
        await asyncio.sleep(10)
        server = world.backends["a"]
        assert (forced_loads(server), server.engine.shelf.loaded.checkpoint.title) == (0, BLUE)
        assert all(entry["body"]["sd_model_checkpoint"] != RED for entry in server.received("txt2img")[2:])


@pytest.mark.parametrize("fault", ["500", "reset", "cut-json", "bad-utf8"])
async def test_a_probe_that_is_not_answered_proves_nothing(fault):
    async with running({"a": PNDM}) as world:
        server = world.backends["a"]
        server.arm_once("empty")
        server.arm(f"{fault},path=/sdapi/v1/txt2img,after=1,times=1")
        await fails(world)
        await asyncio.sleep(10)
        assert forced_loads(server) == 0
        assert await world.settle() == NOTHING_HELD


async def test_a_job_that_fails_alike_on_two_backends_of_two_tenants_leaves_img2img_to_all():
    async with running({"a": PNDM, "b": PNDM}) as world:
        fields = await impossible_strength(world)
        good = fields | {"denoising_strength": 0.5}
        for number in range(3):
            with pytest.raises(GatewayError):
                await world.ask(**fields, seed=number)
        assert len(json.loads(bytes((await world.ask(**good)).body))["images"]) == 1
