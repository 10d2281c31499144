"""A checkpoint whose file is gone, on one backend or on all, and one whose backend is down."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gateway.domain.errors import NeverRunnable, NoCapacity
from gateway.domain.jobs import Operation
from gateway.flow.explain import Explainer
from tests.flow.world import CALLER, NOTHING_HELD, PLAN, now, running, until
from tests.support.fake_backends import BLUE, sdnext

pytestmark = pytest.mark.virtual_time

IMPATIENT = replace(CALLER, plan=replace(PLAN, max_wait_s=60.0))


async def lose_blue(world, *names):
    """The file is deleted there, and the gateway has read the lists since."""
    for name in names:
        shelf = world.backends[name].engine.shelf
        shelf.listed[:] = [one for one in shelf.listed if one.title != BLUE]
        world.process.watcher._watched[name].read_at = -1e12
    listed = world.process.current.inventories
    await until(lambda: all(listed_there(world, name) == 1 for name in names))
    assert set(listed) == set(world.backends.servers)


def listed_there(world, name):
    return len(world.process.current.inventories[name].models)


async def explained(world, **fields):
    body = json.dumps({"prompt": "a cat", **fields}).encode()
    return await Explainer(world.process.gateway).explain(Operation.TXT2IMG, body, CALLER)


async def test_a_model_whose_file_is_gone_everywhere_is_refused_at_once_though_it_is_listed_for_a_day():
    async with running({"a": sdnext(), "b": sdnext()}) as world:
        await lose_blue(world, "a", "b")
        assert "blue" in [model.name for model in world.process.current.catalogue.models]
        asked = now()
        with pytest.raises(NeverRunnable, match="gone from every server"):
            await world.ask(sd_model_checkpoint="blue")
        assert now() == pytest.approx(asked, abs=0.1)
        with pytest.raises(NeverRunnable, match="gone from every server"):
            await explained(world, sd_model_checkpoint="blue")
        assert (await world.records(), world.holdings()) == ([], NOTHING_HELD)


async def test_a_model_whose_file_is_gone_on_one_of_two_backends_runs_on_the_other():
    async with running({"a": sdnext(), "b": sdnext()}) as world:
        await lose_blue(world, "a")
        assert (await explained(world, sd_model_checkpoint="blue"))["pool"]["able_backends"] == 1
        await world.ask(sd_model_checkpoint="blue")
        assert [len(world.backends[name].received("txt2img")) for name in "ab"] == [0, 1]


async def test_a_model_whose_only_backend_is_down_waits_to_its_deadline():
    async with running({"a": sdnext(), "b": sdnext("Diffusers/red")}, caller=IMPATIENT) as world:
        world.backends["a"].is_refusing = True
        await until(lambda: world.store.states["a"] == "down")
        asked = now()
        with pytest.raises(NoCapacity):
            await world.ask(sd_model_checkpoint="blue")
        assert now() - asked == pytest.approx(60.0, abs=1.0)
