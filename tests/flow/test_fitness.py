"""No job goes to a backend whose options were not confirmed since its process began, whatever the store remembers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from gateway.domain.errors import GenerationFailed
from gateway.flow.upkeep import MANAGED_OPTIONS
from gateway.flow.watch import CONFIRM_EVERY_S
from tests.flow.world import running, until
from tests.support.fake_backends import RED, sdnext

pytestmark = pytest.mark.virtual_time

PNG = "iVBORw0KGgo"  # how a PNG begins in base64


def order_of(server):
    """What reached the server that matters here, in order: pictures asked for, options set."""
    entries = server.simulation.received.listing()
    routes = [(entry["method"], entry["path"].removeprefix("/sdapi/v1/")) for entry in entries]
    return [route for method, route in routes if (method, route) in (("POST", "txt2img"), ("POST", "options"))]


def came_as_png(served):
    return all(image.startswith(PNG) for image in json.loads(bytes(served.body))["images"])


async def test_gateway_and_servers_started_anew_over_kept_data_give_only_png_with_calls_from_the_first_moment():
    async with running({"a": sdnext(RED), "b": sdnext(RED)}) as world:
        await world.ask()
        await world.kill(world.process)
        for name in "ab":
            world.backends[name].start_anew()
        await world.process.jobs.resign()
        assert world.store.states == {"a": "up", "b": "up"}
        second = world.add_process("two")
        second.current.version, second.epoch.current = "", world.process.epoch.current
        await second.pulse.beat()
        calls = [world.asking(second) for _ in range(20)]
        assert all(came_as_png(served) for served in await asyncio.gather(*calls))
        for name in "ab":
            assert order_of(world.backends[name])[:2] == ["options", "txt2img"]
            assert world.backends[name].engine.server_options.get("lora_fuse_native") is False


async def test_a_server_started_anew_between_two_looks_is_made_fit_though_it_is_never_seen_to_be_away():
    async with running({"a": sdnext(RED)}) as world:
        await asyncio.sleep(5)
        world.backends["a"].start_anew()
        await until(lambda: order_of(world.backends["a"]) == ["options"], within_s=3)
        assert world.backends["a"].received("sd-models")
        await world.ask()
        assert order_of(world.backends["a"]) == ["options", "txt2img"]
        assert "backend_down" not in [event for event, _ in world.process.log.others]


async def test_a_server_started_anew_under_a_job_gives_that_job_another_try_and_no_jpeg():
    async with running({"a": sdnext(RED)}) as world:
        await asyncio.sleep(5)
        call = world.asking(steps=2)
        world.backends["a"].start_anew()
        served = await call
        assert came_as_png(served)
        assert order_of(world.backends["a"]) == ["txt2img", "options", "txt2img"]
        assert world.process.log.calls[-1]["attempts"] == 2
        assert world.store.states == {"a": "up"}
        told = [fields["reason"] for event, fields in world.process.log.others if event == "backend_preparing"]
        assert "samples_format" in told[0]


async def test_calls_that_keep_its_slot_taken_do_not_keep_a_server_from_being_made_fit():
    async with running({"a": sdnext(RED)}) as world:
        calls = [world.asking(steps=5) for _ in range(8)]
        await asyncio.sleep(2)
        for name, value in (("samples_format", "jpg"), ("server_rate_limit", 300)):
            world.backends["a"].engine.server_options.set(name, value)
        assert all(came_as_png(served) for served in await asyncio.gather(*calls))
        assert {
            name: world.backends["a"].engine.server_options.get(name) for name in MANAGED_OPTIONS
        } == MANAGED_OPTIONS


async def test_a_server_that_limits_the_rate_after_its_start_costs_nobody_an_error():
    async with running({"a": sdnext(RED, seconds_per_megapixel_step=0.0)}) as world:
        world.backends["a"].engine.server_options.set("server_rate_limit", 30)  # six calls of five
        for _ in range(12):
            assert came_as_png(await world.ask())
        assert world.backends["a"].engine.server_options.get("server_rate_limit") == 0


async def test_a_server_that_loses_its_options_again_and_again_does_not_get_a_job_for_ever():
    async with running({"a": sdnext(RED)}) as world:
        call = world.asking(steps=1)
        while not call.done():
            world.backends["a"].engine.server_options.set("samples_format", "jpg")
            await asyncio.sleep(0.05)
        with pytest.raises(GenerationFailed):
            await call
        assert len(world.backends["a"].received("txt2img")) <= 5


async def test_an_option_that_somebody_changes_is_put_right_within_seconds_without_a_job():
    async with running() as world:
        world.backends["a"].engine.server_options.set("lora_fuse_native", True)
        await until(
            lambda: world.backends["a"].engine.server_options.get("lora_fuse_native") is False,
            within_s=CONFIRM_EVERY_S + 2,
        )


async def test_another_address_is_another_server():
    async with running({"a": sdnext(RED)}) as world:
        await asyncio.sleep(3)
        world.backends["a"].engine.server_options.set("samples_format", "jpg")
        declared = world.backends.declared
        declared["a"] = replace(declared["a"], url="http://elsewhere.test")
        await until(lambda: world.backends["a"].engine.server_options.get("samples_format") == "png", within_s=3)


async def test_a_server_that_does_not_tell_its_uptime_has_its_options_read_at_every_look():
    async with running({"a": sdnext(RED)}) as world:
        world.backends["a"].arm("500,path=/sdapi/v1/status")
        await asyncio.sleep(3)
        world.backends["a"].engine.server_options.set("samples_format", "jpg")
        await until(lambda: world.backends["a"].engine.server_options.get("samples_format") == "png", within_s=3)


async def test_one_that_cannot_be_made_fit_gets_no_job_and_says_why():
    async with running({"a": sdnext(RED), "b": sdnext(RED)}, ready=False) as world:
        world.backends["a"].arm("500,path=/sdapi/v1/options")
        await until(lambda: world.store.states.get("b") == "up" and world.process.current.catalogue.backends)
        for _ in range(4):
            await world.ask()
        assert world.store.states["a"] != "up"
        assert world.backends["a"].received("txt2img") == []
        assert world.store.conditions["a"].reason == "The backend answered 500 when asked for its options."


async def test_a_server_that_the_gateway_may_not_change_gets_no_job_until_its_pictures_are_png():
    async with running({"a": sdnext(RED), "b": sdnext(RED)}, ready=False) as world:
        declared = world.backends.declared
        declared["a"] = replace(declared["a"], is_managed=False)
        await until(lambda: world.store.states == {"a": "preparing", "b": "up"})
        assert "manage = true" in world.store.conditions["a"].reason
        world.backends["a"].engine.server_options.set("samples_format", "png")
        await until(lambda: world.store.states["a"] == "up")
        assert order_of(world.backends["a"]) == []


async def test_one_server_that_hangs_delays_the_fitness_of_no_other():
    async with running({"a": sdnext(RED), "b": sdnext(RED)}) as world:
        await asyncio.sleep(5)
        world.backends["a"].arm("hang,path=/sdapi/v1/checkpoint")
        await asyncio.sleep(2)
        world.backends["b"].start_anew()
        await until(lambda: order_of(world.backends["b"]) == ["options"], within_s=3)
