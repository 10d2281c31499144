"""What `/readyz` reports, in every state."""

from __future__ import annotations

import asyncio

import pytest

from gateway.flow.readiness import STORE_SILENT_S, Readiness
from tests.flow.world import running

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
            "pool": {"ok": True, "backends": 1, "models": 2},
            "loops": {"ok": True, "restarts": {}, "errors": {}},
        }


async def test_before_the_first_heartbeat_store_and_pool_are_not_well():
    async with running(ready=False) as world:
        parts = Readiness(world.process.pulse, world.process.current).parts()
        assert (parts["store"]["ok"], parts["pool"]) == (False, {"ok": False, "backends": 0, "models": 0})


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
