"""The session of a key over HTTP, on a whole gateway: what comes back for what clients really send."""

from __future__ import annotations

import asyncio

from tests.clients.support import small_pool


def test_a_session_takes_whatever_clients_send_and_answers_in_their_form(pool):
    small_pool(pool)
    asyncio.run(_session(pool))


async def _session(pool):
    async with pool.client() as client:
        before = (await client.get("/sdapi/v1/options")).json()
        assert before["samples_format"] == "png"
        assert "forge_preset" not in before
        assert {**before, "sd_model_checkpoint": "red"} == (await client.get("/v1/img-options")).json()
        told = (await client.post("/sdapi/v1/options", json={**before, "sd_model_checkpoint": "BLUE"})).json()
        assert {"sd_model_checkpoint": True} in told["updated"]
        assert (await client.get("/sdapi/v1/options")).json()["sd_model_checkpoint"] == "blue"
        for body in (b"", b'""', b"{}", b"\xef\xbb\xbf{}"):
            assert (await client.post("/sdapi/v1/options", content=body)).json() == {"updated": []}
            assert (await client.post("/sdapi/v1/interrupt", content=body)).json() == {}
        for body in (b"[]", b"{", b"\xff", b"[" * 5000):
            assert (await client.post("/sdapi/v1/options", content=body)).status_code == 422
        assert (await client.post("/sdapi/v1/options", content=b'{"a":"' + b"x" * 1_100_000 + b'"}')).status_code == 413
        unknown = await client.post("/sdapi/v1/options", json={"sd_model_checkpoint": "nothing"})
        assert (unknown.status_code, unknown.json()["error"]) == (422, "UnknownModel")
        idle = (await client.get("/sdapi/v1/progress?skip_current_image=true")).json()
        assert (idle["progress"], idle["state"]["job_count"]) == (0, 0)
        assert (await client.get("/sdapi/v1/status")).json()["status"] == "idle"
        for body in ({}, {"id_task": None, "id_live_preview": "x"}, {"id_task": "undefined", "live_preview": False}):
            asked = (await client.post("/internal/progress", json=body)).json()
            assert (asked["active"], asked["queued"], asked["id_live_preview"]) == (False, False, -1)
    async with pool.client("sk-unknown-0123456789abcdef") as stranger:
        for method, path in (("GET", "options"), ("POST", "options"), ("GET", "progress"), ("POST", "interrupt")):
            assert (await stranger.request(method, f"/sdapi/v1/{path}")).status_code == 401
