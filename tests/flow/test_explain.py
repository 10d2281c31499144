"""What would happen to a request, without anything happening."""

from __future__ import annotations

import json

import pytest

from gateway.domain.errors import UnknownModel
from gateway.domain.jobs import Operation
from gateway.flow.explain import Explainer
from tests.flow.world import CALLER, NOTHING_HELD, running, until
from tests.support.fake_backends import sdnext

pytestmark = pytest.mark.virtual_time


async def test_a_request_is_explained_as_it_would_be_sent_and_nothing_is_admitted():
    async with running() as world:
        body = {"prompt": "a cat", "steps": 4, "width": 1000, "height": 512, "save_images": True, "n_iter": 2}
        explainer = Explainer(world.process.gateway)
        await until(lambda: world.store.forecast.other_s is not None)
        answer = await explainer.explain(
            Operation.TXT2IMG, json.dumps({**body, "sd_model_checkpoint": "RED"}).encode(), CALLER
        )
        assert (answer["model"], answer["parameters"]["width"]) == ("red", 1000)
        assert any(line.startswith("save_images") for line in answer["adjusted"])
        assert answer["price"] == {"images": 2, "megapixel_steps": 4.096, "output_megapixels": 1.024}
        assert answer["pool"] == {"able_backends": 1, "waiting_jobs": 0, "expected_wait_s": 0.0}
        limits = answer["limits"]
        assert (limits["outstanding_of_this_key"], limits["calls_left_now"]) == (0, limits["burst"])
        assert limits["all_calls_back_in_s"] == 0.0
        assert world.backends["a"].received("txt2img") == []
        assert (await world.records(), world.holdings()) == ([], NOTHING_HELD)


async def test_what_would_be_refused_is_refused_here_too():
    async with running() as world:
        with pytest.raises(UnknownModel):
            await Explainer(world.process.gateway).explain(
                Operation.TXT2IMG, b'{"prompt": "", "sd_model_checkpoint": "green"}', CALLER
            )


async def test_a_lone_caller_whose_model_is_loaded_nowhere_starts_within_two_seconds_and_was_told_so():
    """Seen: 14 to 28 s on an idle pool, and 0.0 s foretold, because the loaded model had been asked for often."""
    async with running({"a": sdnext(seconds_per_megapixel_step=1.0)}) as world:
        for number in range(40):
            await world.ask(seed=number)
        body = b'{"prompt": "", "sd_model_checkpoint": "blue"}'
        explainer = Explainer(world.process.gateway)
        # What is foretold is published every two seconds.
        await until(lambda: (world.store.forecast.other_s or 0.0) > 0.0)
        told = (await explainer.explain(Operation.TXT2IMG, body, CALLER))["pool"]["expected_wait_s"]
        served = await world.ask(sd_model_checkpoint="blue")
        assert 0.0 < served.timing.queue_s < 2.0
        assert told == pytest.approx(served.timing.queue_s, abs=1.0)


async def test_no_wait_is_promised_while_a_backend_is_down_that_may_be_the_only_one():
    async with running({"a": sdnext(), "b": sdnext("Diffusers/red")}) as world:
        world.backends["a"].is_refusing = True
        await until(lambda: world.store.states["a"] == "down" and world.store.forecast.other_s is None)
        body = b'{"prompt": "", "sd_model_checkpoint": "blue"}'
        answer = await Explainer(world.process.gateway).explain(Operation.TXT2IMG, body, CALLER)
        assert answer["pool"]["expected_wait_s"] is None
