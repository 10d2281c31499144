"""Small truthful answers over HTTP."""

from __future__ import annotations

import asyncio
import json

from gateway.api.synthetic import NO_EFFECT, REFRESHES
from tests.clients.support import FAST, address, small_pool
from tests.support.pools import SMALL
from tests.support.processes import wait_until


def test_a_server_is_described_without_a_secret_and_asked_for_changes_in_vain(pool):
    small_pool(pool)
    asyncio.run(_described(pool))
    assert pool.sims["one"].received("/sdapi/v1/reload-checkpoint") == []


def test_fifty_refreshes_of_five_tenants_are_answered_at_once_and_are_one_rescan_of_each_backend(pool):
    sims = [pool.add_sim(name, "red,blue", new_model="green", **FAST) for name in ("one", "two")]
    pool.start(workers=2)
    keys = [f"sk-refresher-{number}-0123456789abcdef" for number in range(5)]
    for number, key in enumerate(keys):
        pool.add_key(key, f"tenant-{number}")
    asyncio.run(_refreshed(pool, keys))
    wait_until(lambda: "green" in pool.get("/sdapi/v1/sd-models").text, "the new model is listed")
    for sim in sims:
        wait_until(lambda sim=sim: sim.received("/sdapi/v1/refresh-vae"), f"{sim.name} is rescanned")
    asyncio.run(_refreshed(pool, keys))
    assert [len(sim.received("/sdapi/v1/refresh-checkpoints")) for sim in sims] == [1, 1]
    green = {**SMALL, "sd_model_checkpoint": "green"}
    wait_until(lambda: pool.post(green).status_code == 200, "each process knows the new model")


async def _refreshed(pool, keys):
    """Five kinds of refresh by each of five keys, all at once."""
    async with pool.client() as client:
        answers = await asyncio.gather(
            *(
                client.post(f"/sdapi/v1/{name}", headers={"Authorization": f"Bearer {key}"})
                for key in keys
                for name in REFRESHES
            )
        )
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {})] * 25


async def _described(pool):
    async with pool.client() as client:
        assert (await client.get("/sdapi/v1/cmd-flags")).json()["api"] is True
        assert (await client.get("/sdapi/v1/memory")).json()["cuda"]["system"]["free"] > 0
        assert (await client.get("/sdapi/v1/platform")).status_code == 200
        for name in NO_EFFECT:
            assert (await client.post(f"/sdapi/v1/{name}", content=b'""')).json() == {}
        loaded = (await client.get("/sdapi/v1/checkpoint")).json()
        assert (loaded["title"], "/" in json.dumps(loaded)) == ("red", False)
        set_to = await client.post("/sdapi/v1/checkpoint?sd_model_checkpoint=blue&force=true")
        assert set_to.json() == {"ok": True}
        assert (await client.get("/sdapi/v1/checkpoint")).json()["title"] == "blue"
        assert (await client.post("/sdapi/v1/checkpoint?sd_model_checkpoint=nothing")).status_code == 422
    async with pool.client("") as nobody:
        nobody.headers.pop("authorization")
        assert (await nobody.get("/sdapi/v1/version")).json()["app"] == "sd.next"
        for path in ("/config", "/app_id", "/internal/ping", "/login_check"):
            assert (await nobody.get(path)).status_code == 200, address(pool) + path
        assert (await nobody.post("/login", content=b"username=x&password=y")).status_code == 200
        for path in ("cmd-flags", "memory", "checkpoint", "platform"):
            refused = await nobody.get(f"/sdapi/v1/{path}")
            assert (refused.status_code, refused.headers["www-authenticate"][:5]) == (401, "Basic")
