"""The package webuiapi, unmodified: every call it offers that is not for a foreign extension."""

from __future__ import annotations

import pytest
import webuiapi

from tests.clients.support import HELD_PHASE, UnderWay, small_pool
from tests.support.pools import KEY
from tests.support.processes import wait_until


@pytest.fixture
def api(pool):
    small_pool(pool)
    client = webuiapi.WebUIApi(port=pool.gateway.port, username="me", password=KEY)
    yield client
    client.session.close()


def test_webuiapi_makes_changes_enlarges_and_reads_pictures(api):
    made = api.txt2img(prompt="a cat", steps=2, width=64, height=64, seed=7)
    assert (made.image.size, made.image.format, made.info["seed"], made.info["sd_model_name"]) == (
        (64, 64), "PNG", 7, "red",
    )  # fmt: skip
    assert made.parameters["prompt"] == "a cat"
    changed = api.img2img(images=[made.image], prompt="a dog", steps=2, width=64, height=64)
    assert changed.image.size == (64, 64)
    larger = api.extra_single_image(made.image, upscaler_1="R-ESRGAN 4x+", upscaling_resize=2)
    assert larger.image.size == (128, 128)
    both = api.extra_batch_images([made.image, changed.image], upscaler_1="Lanczos", upscaling_resize=2)
    assert [image.size for image in both.images] == [(128, 128)] * 2
    assert "Steps: 2" in api.png_info(made.image).info
    with pytest.raises(RuntimeError, match="404"):
        api.interrogate(made.image)


def test_every_list_and_setting_of_webuiapi_is_there(api):
    assert api.util_get_model_names() == ["blue", "red"]
    assert "Euler a" in api.util_get_sampler_names()
    assert "karras" in api.util_get_scheduler_names()
    api.util_set_model("BLUE")
    assert api.util_get_current_model() == "blue"
    assert api.txt2img(prompt="a cat", steps=1, width=64, height=64).info["sd_model_name"] == "blue"
    assert api.set_options({"CLIP_stop_at_last_layers": 2}) == {"updated": [{"CLIP_stop_at_last_layers": True}]}
    assert api.get_options()["CLIP_stop_at_last_layers"] == 2
    assert api.interrupt() == api.skip() == api.refresh_checkpoints() == {}
    assert api.get_memory()["cuda"]["system"]["total"] > 0
    assert api.get_cmd_flags()["api"] is True
    assert [lora["name"] for lora in api.get_loras()] == ["inky"]
    assert api.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert {"None", "R-ESRGAN 4x+"} <= {upscaler["name"] for upscaler in api.get_upscalers()}
    assert {"name": "Latent Nearest"} in api.get_latent_upscale_modes()
    assert api.get_scripts() == {"txt2img": [], "img2img": [], "control": []}
    for read in (api.get_hypernetworks, api.get_realesrgan_models, api.get_prompt_styles):
        assert read() == []
    assert isinstance(api.get_sd_vae(), list)
    assert {"name", "cmd_dir"} == set(api.get_face_restorers()[0])
    for read in (api.get_artists, api.get_artist_categories, lambda: api.custom_get("controlnet/version")):
        assert read() == {"detail": "Not Found"}
    api.util_wait_for_ready(check_interval=0.01)


@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning")  # the package's own use of aiohttp
@pytest.mark.filterwarnings("ignore:The .auth. parameter is deprecated:DeprecationWarning")  # what the package does
async def test_the_asynchronous_form_of_webuiapi_works_too(api):
    made = await api.txt2img(prompt="a cat", steps=1, width=64, height=64, use_async=True)
    assert made.image.size == (64, 64)


def test_webuiapi_sees_how_far_its_job_is_and_interrupts_it(api, pool):
    sim = pool.sims["one"]
    sim.ask(HELD_PHASE, method="POST")
    job = UnderWay(lambda: api.txt2img(prompt="a cat", steps=20, width=64, height=64))
    wait_until(lambda: api.get_progress()["state"]["job"], "the job is seen")
    seen = api.get_progress()
    assert (seen["state"]["job_count"], 0 < seen["progress"] < 1) == (1, True)
    api.interrupt()
    ended = job.result()
    assert (ended.images, ended.info["interrupted"]) == ([], True)
    assert api.get_progress()["state"]["job_count"] == 0
