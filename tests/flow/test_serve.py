"""The whole path of a job, over the real flow, the stores' oracle and simulated SD.Next servers."""

from __future__ import annotations

import json

import pytest

from gateway.domain.jobs import Outcome
from tests.flow.world import NOTHING_HELD, running

pytestmark = pytest.mark.virtual_time


async def test_a_call_gets_its_picture_and_everything_is_given_back():
    async with running() as world:
        served = await world.ask(seed=7)
        assert json.loads(json.loads(served.body)["info"])["seed"] == 7
        assert world.holdings() == NOTHING_HELD
        assert await world.outcomes() == [(Outcome.FINISHED, "a")]
        assert world.process.failures == []
