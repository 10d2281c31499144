"""The lists over HTTP; what stands in them is tested where it is made."""

from __future__ import annotations

import contextlib

import pytest

from gateway.api.listings import ListingRoutes
from tests.api.support import application, asking
from tests.flow.world import KEY, running

pytestmark = pytest.mark.virtual_time
NAMES = ("models", "samplers", "upscalers", "options")


@contextlib.asynccontextmanager
async def lists(*, ready):
    async with running(ready=ready) as world:
        listing = ListingRoutes(world.process.gateway)
        app = application({f"/{name}": getattr(listing, name) for name in NAMES}, methods=["GET"])
        async with asking(app) as client:
            yield client, world


@pytest.mark.parametrize("name", NAMES)
async def test_a_list_needs_a_key_and_has_the_pools_names(name):
    async with lists(ready=True) as (client, _):
        assert (await client.get(f"/{name}")).status_code == 401
        answer = await client.get(f"/{name}", headers={"x-api-key": KEY})
        assert answer.status_code == 200
        assert len(answer.json()) > 0


async def test_the_models_are_those_of_the_catalogue():
    async with lists(ready=True) as (client, world):
        told = (await client.get("/models", headers={"x-api-key": KEY})).json()
    assert {model["title"] for model in told} == {model.name for model in world.process.current.catalogue.models}


@pytest.mark.parametrize("name", NAMES)
async def test_before_any_backend_was_seen_a_list_is_a_503_and_never_a_404(name):
    async with lists(ready=False) as (client, _):
        answer = await client.get(f"/{name}", headers={"x-api-key": KEY})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
