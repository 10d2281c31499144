from __future__ import annotations

import asyncio

import pytest

from gateway.simulator.sdnext.clock import LoopClock
from gateway.simulator.sdnext.engine import Engine
from gateway.simulator.sdnext.facts import load_facts
from gateway.simulator.sdnext.simulation_options import SimulationOptions
from tests.simulator.support import A, B, in_virtual_time


def engine(**changes: object) -> Engine:
    return Engine(SimulationOptions(**changes), load_facts(), LoopClock())  # type: ignore[arg-type]


@in_virtual_time
async def test_work_lasts_its_time_and_is_cut_short_by_an_interrupt_only_if_it_can_be() -> None:
    ours = engine()
    asyncio.get_running_loop().call_later(3, ours.interrupt)
    cut = await ours.work(10, "inference", stoppable=True)
    at = ours.clock.now()
    whole = await ours.work(10, "decode", stoppable=False)

    assert (cut, at, whole, ours.clock.now()) == (True, pytest.approx(3), False, pytest.approx(13))


@in_virtual_time
async def test_a_held_phase_lasts_until_it_is_released_or_the_job_is_interrupted() -> None:
    ours = engine()
    ours.hold("inference")
    loop = asyncio.get_running_loop()
    loop.call_later(100, ours.release, "inference")
    released = await ours.work(1, "inference", stoppable=True), ours.clock.now()
    ours.hold("inference")
    loop.call_later(100, ours.interrupt)
    interrupted = await ours.work(1, "inference", stoppable=True), ours.clock.now()

    assert (released, interrupted) == ((False, pytest.approx(100)), (True, pytest.approx(200)))
    assert ours.release("load") is False


@in_virtual_time
async def test_a_failed_load_leaves_nothing_loaded_and_is_not_counted() -> None:
    ours = engine()
    ours.shelf.delete_file(B)
    checkpoint = ours.shelf.find(B)
    assert checkpoint is not None
    loaded = await ours.load(checkpoint)

    assert (loaded, ours.shelf.loaded, ours.counters.loads, ours.state.task) == (False, None, 0, "")


@in_virtual_time
async def test_a_stored_hub_name_costs_a_search_every_time_it_is_tried() -> None:
    ours = engine()
    ours.shelf.loaded = None
    ours.server_options.set("sd_model_checkpoint", "acme/no-such")

    assert await ours.weights_for_unnamed() is None
    assert ours.clock.now() == pytest.approx(3.4)


async def test_the_first_model_is_loaded_at_the_start() -> None:
    ours = engine(models=(B, A))

    assert ours.shelf.loaded is not None
    assert ours.shelf.loaded.checkpoint.title == B


async def test_a_server_without_models_starts_with_nothing_loaded() -> None:
    assert engine(models=()).shelf.loaded is None
