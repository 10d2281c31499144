"""Small truthful answers over HTTP."""

from __future__ import annotations

import asyncio
import json

from gateway.api.synthetic import NO_EFFECT
from tests.clients.support import address, small_pool


def test_a_server_is_described_without_a_secret_and_asked_for_changes_in_vain(pool):
    small_pool(pool)
    asyncio.run(_described(pool))
    assert pool.sims["one"].received("/sdapi/v1/reload-checkpoint") == []
    assert pool.sims["one"].received("/sdapi/v1/refresh-checkpoints") == []


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
