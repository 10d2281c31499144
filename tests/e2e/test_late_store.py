"""A gateway that is started before its store: it waits, says so, and begins by itself."""

from __future__ import annotations

import json

from tests.chaos.conftest import own_pool, own_store
from tests.support.pools import KEY, SMALL
from tests.support.processes import wait_until

__all__ = ["own_pool", "own_store"]

RED = {**SMALL, "sd_model_checkpoint": "red"}


def start_without_store(pool, store):
    """The gateway on its own, its store killed before; back when it listens."""
    sim = pool.add_sim("one", "red", seconds_per_megapixel_step="0.01", swap_seconds="0.05")
    wait_until(sim.is_up, "the backend is up")
    store.kill()
    pool.gateway = pool.gateways.start(
        "serve",
        redis_url=pool.valkey.url,
        alone="true",
        backends=json.dumps([{"name": "one", "url": sim.url}]),
        first_key=KEY,
        drain_delay_s="0",
    )
    wait_until(lambda: pool.gateway.get_json("/livez"), "it lives")


def test_a_gateway_that_is_started_before_its_store_begins_when_the_store_appears(own_pool, own_store):
    start_without_store(own_pool, own_store)
    gateway = own_pool.gateway
    status, _, body = gateway.get("/readyz")
    assert (status, json.loads(body)["status"]) == (503, "starting or draining")
    assert "GATEWAY_REDIS_URL has not answered" in json.loads(body)["store"]["reason"]
    refused = [own_pool.post(RED), own_pool.get("/sdapi/v1/sd-models")]
    assert [answer.status_code for answer in refused] == [503, 503]
    assert all(answer.json()["detail"] for answer in refused)
    assert "retry-after" in refused[1].headers
    assert own_pool.get("/sdapi/v1/sd-models", "sk-unknown-0123456789abcdef").status_code == 401

    own_store.start_again()
    gateway.wait_until_ready()
    assert "reason" not in gateway.get_json("/readyz")["store"]
    assert own_pool.post(RED).status_code == 200
    assert [model["title"] for model in own_pool.get("/sdapi/v1/sd-models").json()] == ["red"]
    lines = [line for line in gateway.output.splitlines() if "start_waits_for_store" in line]
    assert len(lines) == 1


def test_a_gateway_that_still_waits_for_its_store_ends_at_once_and_in_order(own_pool, own_store):
    start_without_store(own_pool, own_store)
    own_pool.gateway.process.terminate()
    assert own_pool.gateway.ended() == 0
