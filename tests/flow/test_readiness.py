"""What `/readyz` reports, in every state."""

from __future__ import annotations

import asyncio

import pytest

from gateway.flow.readiness import STORE_SILENT_S, Readiness
from tests.flow.world import running, until
from tests.support.fake_backends import BLUE, RED, sdnext

pytestmark = pytest.mark.virtual_time


async def test_a_process_serves_from_its_start_to_its_drain_whatever_is_away():
    async with running() as world:
        readiness, draining = Readiness(world.process.pulse, world.process.current), []
        readiness.watch(world.process.supervisor, lambda: bool(draining))
        assert not readiness.is_serving()
        readiness.has_started = True
        world.process.jobs.is_away = True
        await asyncio.sleep(60)
        assert readiness.is_serving()
        draining.append(True)
        assert not readiness.is_serving()


async def test_everything_well_is_told_as_such():
    async with running() as world:
        readiness = Readiness(world.process.pulse, world.process.current)
        readiness.watch(world.process.supervisor, lambda: False)
        assert readiness.parts() == {
            "store": {"ok": True},
            "database": {"ok": True},
            "pool": {"ok": True, "backends": 1, "up": 1, "models": 2},
            "loops": {"ok": True, "restarts": {}, "errors": {}},
        }


async def test_before_the_first_heartbeat_store_and_pool_are_not_well():
    async with running(ready=False) as world:
        parts = Readiness(world.process.pulse, world.process.current).parts()
        assert (parts["store"]["ok"], parts["pool"]) == (False, {"ok": False, "backends": 0, "up": 0, "models": 0})


async def test_a_store_that_is_silent_for_some_seconds_is_told_and_so_is_its_return():
    async with running() as world:
        readiness = Readiness(world.process.pulse, world.process.current)
        readiness.watch(world.process.supervisor, lambda: False)
        world.process.jobs.is_away = True
        await asyncio.sleep(STORE_SILENT_S - 1.5)
        assert readiness.parts()["store"] == {"ok": True}
        await asyncio.sleep(3)
        parts = readiness.parts()
        assert (parts["store"]["ok"], parts["loops"]["ok"]) == (False, False)
        assert "StoreUnavailable" in parts["loops"]["errors"]["heartbeat"]
        world.process.jobs.is_away = False
        await asyncio.sleep(5)
        parts = readiness.parts()
        assert (parts["store"]["ok"], parts["loops"]["ok"], parts["loops"]["errors"]) == (True, True, {})


async def test_servers_that_were_killed_are_told_within_seconds_with_the_models_that_nobody_has_any_more():
    async with running({"a": sdnext(RED), "b": sdnext(RED, BLUE)}) as world:
        readiness = Readiness(world.process.pulse, world.process.current)
        world.backends["b"].is_refusing = True
        await asyncio.sleep(4)
        away = {"state": "down", "reason": "The backend cannot be reached."}
        assert readiness.parts()["pool"] == {
            "ok": False,
            "backends": 2,
            "up": 1,
            "models": 2,
            "not_up": {"b": away},
            "models_that_nobody_serves": ["blue"],
        }
        world.backends["a"].is_refusing = True
        await asyncio.sleep(4)
        pool = readiness.parts()["pool"]
        assert (pool["ok"], pool["up"], pool["not_up"]) == (False, 0, {"a": away, "b": away})
        assert pool["models_that_nobody_serves"] == ["blue", "red"]


async def test_a_server_that_is_being_made_fit_is_named_with_what_keeps_it():
    async with running() as world:
        readiness = Readiness(world.process.pulse, world.process.current)
        call = world.asking(steps=40)
        await until(lambda: world.store.slots)
        world.backends["a"].engine.server_options.set("lora_fuse_native", True)
        await until(lambda: readiness.parts()["pool"]["up"] == 0)
        standing = readiness.parts()["pool"]["not_up"]["a"]
        assert standing["state"] == "preparing"
        assert "lora_fuse_native" in standing["reason"]
        await call
        await until(lambda: readiness.parts()["pool"]["ok"])


async def test_a_process_that_does_not_lead_tells_the_same():
    async with running() as world:
        second = world.add_process("two")
        readiness = Readiness(second.pulse, second.current)
        await until(lambda: readiness.parts()["pool"]["ok"])
        world.backends["a"].is_refusing = True
        await until(lambda: readiness.parts()["pool"]["up"] == 0)


async def test_a_database_whose_disk_is_full_is_named_and_leaves_the_process_serving():
    async with running() as world:
        reasons = {"database": "The database's disk is full; its operator must make room."}
        readiness = Readiness(world.process.pulse, world.process.current, lambda store: reasons.get(store, ""))
        readiness.watch(world.process.supervisor, lambda: False)
        readiness.has_started = True
        parts = readiness.parts()
        assert (parts["database"], parts["store"]) == ({"ok": False, "reason": reasons["database"]}, {"ok": True})
        assert readiness.is_serving()
