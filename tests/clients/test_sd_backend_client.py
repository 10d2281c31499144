"""The package sd-backend-client, unmodified, with its own strict models of every reply."""

from __future__ import annotations

import pytest
from PIL import Image
from sd_backend_client.api.a1111_webservice import A1111Webservice
from sd_backend_client.api.detect import connect_to_backend
from sd_backend_client.api.shared_data.diffusion_params import DiffusionParams

from tests.clients.support import HELD_PHASE, address, small_pool
from tests.support.patience import PATIENCE_S
from tests.support.pools import KEY
from tests.support.processes import wait_until


@pytest.fixture
def client(pool):
    small_pool(pool)
    service = A1111Webservice(address(pool), credentials_provider=lambda: ("me", KEY))
    yield service
    service.disconnect()


def params(**changes):
    return DiffusionParams(**{"prompt": "a cat", "steps": 2, "width": 64, "height": 64} | changes)


def test_every_list_passes_the_strict_models_of_sd_backend_client(client):
    assert [model.title for model in client.get_models()] == ["blue", "red"]
    assert [option.name for option in client.list_checkpoints()] == ["blue", "red"]
    assert [lora.name for lora in client.get_loras()] == ["inky"]
    assert "Euler a" in {sampler.name for sampler in client.get_samplers()}
    assert client.list_samplers()
    assert {option.display_name for option in client.list_schedulers()} >= {"Automatic", "Karras"}
    assert all(upscaler.scale >= 1 for upscaler in client.get_upscalers())
    assert "Latent Nearest" in client.get_latent_upscale_modes()
    assert client.get_hypernetworks() == client.list_hypernetworks() == []
    assert client.get_styles() == client.get_script_info() == []
    assert client.get_scripts().img2img == []
    assert isinstance(client.list_vaes(), list)
    assert client.list_controlnet_models() == []
    capable = client.get_capabilities()
    assert (capable.controlnet, capable.scheduler, capable.interrogate) == (False, True, False)
    for refresh in (client.refresh_checkpoints, client.refresh_vae, client.refresh_loras):
        assert refresh().json() == {}
    assert client.login_check().status_code == 200


def test_sd_backend_client_makes_changes_and_enlarges_pictures_and_keeps_its_settings(client):
    made = client.txt2img(params(seed=7))
    assert made["images"][0].size == (64, 64)
    changed = client.img2img(made["images"][0], request_body=params())
    assert changed["images"][0].size == (64, 64)
    larger = client.upscale(Image.new("RGB", (64, 64)), width=128, height=128)
    assert larger["images"][0].size == (128, 128)
    client.set_config({"sd_model_checkpoint": "blue"})
    assert client.get_config()["sd_model_checkpoint"] == "blue"
    assert client.progress_check().state.job_count == 0
    assert client.interrupt() == {}


def test_sd_backend_client_submits_follows_and_cancels_a_job(client, pool):
    assert len(client.submit_txt2img(params()).wait(timeout=PATIENCE_S).images) == 1
    pool.sims["one"].ask(HELD_PHASE, method="POST")
    handle = client.submit_txt2img(params(steps=20))
    wait_until(lambda: client.progress_check().state.job_count, "the job is seen")
    handle.cancel()
    wait_until(lambda: client.progress_check().state.job_count == 0, "the job has ended")


def test_sd_backend_client_takes_the_gateway_for_what_it_is(pool):
    small_pool(pool)
    found = connect_to_backend(address(pool), credentials_provider=lambda: ("me", KEY))
    assert isinstance(found, A1111Webservice)
    found.disconnect()
