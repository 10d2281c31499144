"""A tenant whose requests cannot work costs the others no reload of their checkpoint."""

from __future__ import annotations

from tests.clients.support import SECOND
from tests.support.pools import KEY, SMALL
from tests.support.processes import wait_until


def test_no_request_of_one_tenant_has_the_checkpoint_of_the_others_loaded_anew(pool):
    sim = pool.add_sim("one", "red", samplers_of_checkpoint="PNDM", time_scale="0.05")
    pool.start(default_model="red")
    pool.add_key(SECOND, "attacker")
    (image,) = pool.post(SMALL).json()["images"]
    plms = pool.post({**SMALL, "sampler_name": "PLMS", "steps": 3}, SECOND)
    assert (plms.status_code, len(plms.json()["images"])) == (200, 1)
    assert "steps=4 (clamped from 3)" in plms.headers["x-gateway-adjusted"]
    loads = sim.ask("/__sim/state")["loads"]
    for strength in (0.001, 0.002):
        body = {**SMALL, "init_images": [image], "sampler_name": "DDIM", "steps": 4, "denoising_strength": strength}
        assert pool.post(body, SECOND, "/sdapi/v1/img2img").status_code == 500
    probed = "the gateway has asked whether the checkpoint still makes pictures"
    wait_until(lambda: [e for e in sim.received("/sdapi/v1/txt2img") if e["body"]["prompt"] == ""], probed)
    assert pool.post(SMALL, KEY).status_code == 200
    assert sim.ask("/__sim/state")["loads"] == loads
    assert [entry for entry in sim.received("/sdapi/v1/checkpoint") if entry["method"] == "POST"] == []
