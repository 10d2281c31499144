"""Applications that speak to an A1111 or an SD.Next, as scripted sequences: their bodies, headers and order, and what
they read of each answer. Read from the sources of their versions of 2023 to 2026.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import requests
from PIL import Image

from tests.clients.support import HELD_PHASE, SECOND, UnderWay, address, encoded, opened, small_pool
from tests.support.patience import PATIENCE_S
from tests.support.pools import KEY
from tests.support.processes import wait_until

SMALL = {"width": 64, "height": 64, "steps": 1}
PNG = encoded(Image.new("RGB", (64, 64), "red"))
NAMES_NULL = {"hr_checkpoint_name": None, "hr_sampler_name": None, "script_name": None, "denoising_strength": None}


class Client:
    """One HTTP client with the headers that the application sends."""

    def __init__(self, base: str, **headers: str) -> None:
        self.base, self.headers = base, headers

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        options["headers"] = {**self.headers, **options.pop("headers", {})}
        return requests.request(method, self.base + path, timeout=PATIENCE_S, **options)

    def get(self, path: str, **options: Any) -> Any:
        answer = self.ask("GET", path, **options)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        answer = self.ask("POST", path, json=body, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.fixture
def base(pool):
    small_pool(pool)
    return address(pool)


@pytest.fixture
def with_path(base, pool):
    """The address of a client that has no setting for a key, and puts what it asks for behind the address."""
    pool.add_key(SECOND, "in the path", allows_path=True)
    return f"{base}/k/{SECOND}"


@pytest.fixture
def with_user(base):
    """The address of a client that has no setting for a key, and whose library takes one from the address."""
    return base.replace("//", f"//me:{KEY}@")


def test_open_webui_reads_its_options_posts_them_all_back_and_takes_the_picture_for_a_png(base):
    app = Client(base + "/", authorization=basic(f"me:{KEY}"))  # its address may end with a slash
    options = app.get("/sdapi/v1/options")
    models = app.get("/sdapi/v1/sd-models")
    assert options["sd_model_checkpoint"] in [model["title"] for model in models]
    options["sd_model_checkpoint"] = "blue"
    app.post("/sdapi/v1/options", options)
    assert app.get("/sdapi/v1/options")["sd_model_checkpoint"] == "blue"
    made = app.post("/sdapi/v1/txt2img", {"prompt": "a cat", "batch_size": 2, "negative_prompt": "x", **SMALL})
    assert [opened(image).format for image in made["images"]] == ["PNG", "PNG"]
    assert json.loads(made["info"])["sd_model_name"] == "blue"
    # A setting without a colon, and one that is empty.
    assert Client(base, authorization=basic(KEY)).get("/sdapi/v1/options")
    for empty in ("", "Basic "):
        assert Client(base, authorization=empty).ask("GET", "/sdapi/v1/options").status_code == 401


def test_sillytavern_fills_its_lists_changes_the_model_and_waits_until_it_is_idle(base):
    app = Client(base, authorization=basic(f"me:{KEY}"))
    assert app.ask("GET", "/sdapi/v1/options").ok
    assert "forge_preset" not in app.get("/sdapi/v1/options")
    assert [model["title"] for model in app.get("/sdapi/v1/sd-models")] == ["blue", "red"]
    for path, name in (("samplers", "name"), ("upscalers", "name"), ("schedulers", "name")):
        assert all(entry[name] for entry in app.get(f"/sdapi/v1/{path}"))
    for path in ("latent-upscale-modes", "sd-vae", "sd-modules"):
        assert isinstance(app.get(f"/sdapi/v1/{path}"), list)
    app.post("/sdapi/v1/options", {"sd_model_checkpoint": "blue"})
    progress = app.get("/sdapi/v1/progress")
    assert (progress["progress"], progress["state"]["job_count"]) == (0.0, 0)
    body = {
        "url": base, "auth": f"me:{KEY}", "prompt": "a cat", "negative_prompt": "", "sampler_name": "DPM++ 2M Karras",
        "scheduler": "Karras", "cfg_scale": 7, "restore_faces": False, "enable_hr": False, "hr_upscaler": "Latent",
        "hr_scale": 2, "denoising_strength": 0.7, "hr_second_pass_steps": 0, "clip_skip": 1, "save_images": True,
        "override_settings": {"CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic", "forge_additional_modules": []},
        "override_settings_restore_afterwards": True, "send_images": True, "do_not_save_grid": False,
        "do_not_save_samples": False, **SMALL,
    }  # fmt: skip
    answer = app.ask("POST", "/sdapi/v1/txt2img", json=body)
    assert opened(answer.json()["images"][0]).format == "PNG"
    assert KEY not in answer.text + str(answer.headers), "its credentials are in the body, and go nowhere"


def test_sillytavern_ends_its_job_on_another_connection_when_its_browser_leaves(base, pool):
    app = Client(base, authorization=basic(f"me:{KEY}"))
    pool.sims["one"].ask(HELD_PHASE, method="POST")
    job = UnderWay(lambda: app.post("/sdapi/v1/txt2img", {"prompt": "a cat", **SMALL}))
    wait_until(lambda: app.get("/sdapi/v1/progress")["state"]["job_count"], "the job is seen")
    assert app.ask("POST", "/sdapi/v1/interrupt").json() == {}
    assert job.result()["images"] == []


def test_librechat_reads_the_part_before_a_comma_and_the_first_infotext(with_user):
    app = Client(with_user)
    body = {"prompt": "a cat", "negative_prompt": "", "sampler_index": "DPM++ 2M Karras", "cfg_scale": 4.5, **SMALL}
    made = app.post("/sdapi/v1/txt2img", body)
    assert opened(made["images"][0].split(",", 1)[0])
    info = json.loads(made["info"])
    assert info["infotexts"][0].startswith("a cat")
    assert {"seed", "width", "height"} <= info.keys()


def test_kobold_lite_accepts_the_server_and_finds_its_model_by_title(with_path):
    app = Client(with_path)
    models, options = app.get("/sdapi/v1/sd-models"), app.get("/sdapi/v1/options")
    assert options["samples_format"] is not None
    assert [model for model in models if model["title"] == options["sd_model_checkpoint"]]
    settings = {
        "sd_model_checkpoint": "blue", "eta_noise_seed_delta": 0, "CLIP_stop_at_last_layers": 1, "ddim_discretize":
        "uniform", "img2img_fix_steps": False, "sd_hypernetwork": "None", "inpainting_mask_weight": 1,
        "initial_noise_multiplier": 1, "comma_padding_backtrack": 20,
    }  # fmt: skip
    body = {
        "prompt": "a cat", "seed": -1, "sampler_name": "k_euler_a", "batch_size": 1, "n_iter": 1, "cfg_scale": 7,
        "negative_prompt": "", "do_not_save_samples": True, "do_not_save_grid": True, "enable_hr": False, "eta": 0,
        "s_churn": 0, "s_tmax": 0, "s_tmin": 0, "s_noise": 1, "override_settings": settings, **SMALL,
    }  # fmt: skip
    assert json.loads(app.post("/sdapi/v1/txt2img", body)["info"])["sd_model_name"] == "blue"
    assert opened(app.post("/sdapi/v1/img2img", {**body, "init_images": [PNG]})["images"][0])
    caption = app.ask("POST", "/sdapi/v1/interrogate", json={"image": PNG, "model": "clip"})
    assert (caption.status_code, caption.json()) == (404, {"detail": "Not Found"})


def test_text_generation_webui_unloads_and_reloads_around_a_picture_with_numbers_as_text(with_user):
    app = Client(with_user)
    assert app.ask("GET", "/sdapi/v1/sd-models").ok
    app.post("/sdapi/v1/options", {"sd_model_checkpoint": "red"})
    assert app.get("/sdapi/v1/samplers")
    for path in ("unload-checkpoint", "reload-checkpoint"):
        assert app.ask("POST", f"/sdapi/v1/{path}", json="").ok
    body = {
        "prompt": "a cat", "seed": -1, "sampler_name": "DPM++ 2M Karras", "enable_hr": False, "hr_scale": "1.0",
        "hr_upscaler": "ESRGAN_4x", "denoising_strength": 0.7, "cfg_scale": 7, "restore_faces": False,
        "override_settings_restore_afterwards": True, "negative_prompt": "", **SMALL,
    }  # fmt: skip
    assert opened(app.post("/sdapi/v1/txt2img", body)["images"][0].split(",", 1)[0])


def test_the_photoshop_plugin_polls_reads_back_each_picture_and_interrupts_without_a_body(with_path):
    app = Client(with_path)
    assert app.get("/config")["components"] == []
    for path in ("options", "samplers", "upscalers", "sd-models", "loras", "scripts"):
        assert app.get(f"/sdapi/v1/{path}")
    assert list(app.get("/sdapi/v1/embeddings")["loaded"]) == []
    for path in ("module_list?alias_names=true", "model_list", "version", "settings"):
        assert app.ask("GET", f"/controlnet/{path}").status_code == 404
    for option in ({"sd_vae": "Automatic"}, {"inpainting_mask_weight": 0.5}, {"CLIP_stop_at_last_layers": 2}):
        assert app.post("/sdapi/v1/options", option) == {"updated": [dict.fromkeys(option, True)]}
    body = {"prompt": "a cat", "uniqueDocumentId": "1", "use_prompt_shortcut": True, "alwayson_scripts": {}, **SMALL}
    made = app.post("/sdapi/v1/txt2img", body)
    assert app.post("/sdapi/v1/png-info", {"image": "data:image/png;base64," + made["images"][0]})["info"]
    assert app.get("/sdapi/v1/progress?skip_current_image=false")["current_image"] is None
    interrupted = app.ask("POST", "/sdapi/v1/interrupt", headers={"Content-Type": "application/json"})
    assert interrupted.json() == {}


def test_aiyabot_finds_out_that_a_key_is_needed_starts_and_draws(base):
    nobody = Client(base)
    assert nobody.ask("GET", "/sdapi/v1/cmd-flags").status_code == 401
    assert nobody.ask("HEAD", "/").status_code == 200
    assert nobody.get("/sdapi/v1/version")["app"] == "sd.next"
    app = Client(base, authorization=basic(f"APIUSER:{KEY}"))
    lists = "samplers prompt-styles face-restorers embeddings hypernetworks upscalers sd-models loras".split()
    assert all(isinstance(app.get(f"/sdapi/v1/{name}"), dict if name == "embeddings" else list) for name in lists)
    assert app.get("/config")["components"] == []
    assert app.ask("POST", "/login", data={"username": "a", "password": "b"}).ok
    app.post("/sdapi/v1/options", {"sd_model_checkpoint": "red"})
    body = {
        "prompt": "a cat", "negative_prompt": "", "cfg_scale": 7.0, "sampler_index": "Euler a", "seed": 3,
        "seed_resize_from_h": -1, "seed_resize_from_w": -1, "denoising_strength": None, "n_iter": 1, "batch_size": 1,
        "styles": ["None"], "override_settings": {"CLIP_stop_at_last_layers": 1}, "full_quality": True, **SMALL,
    }  # fmt: skip
    made = app.post("/sdapi/v1/txt2img", body)
    assert app.post("/sdapi/v1/png-info", {"image": "data:image/png;base64," + made["images"][0]})["info"]
    progress = app.get("/sdapi/v1/progress")
    assert (progress["state"]["job"], progress["current_image"], progress["eta_relative"]) == ("", None, 0.0)
    assert app.post("/sdapi/v1/interrupt") == app.post("/sdapi/v1/skip") == {}
    larger = app.post("/sdapi/v1/extra-single-image", {"image": PNG, "upscaler_1": "ESRGAN_4x", "upscaling_resize": 2})
    assert opened(larger["image"]).size == (128, 128)


def test_sdai_logs_in_and_opens_every_page(base):
    assert Client(base).ask("GET", "").status_code == 200, "its check that the server is well"
    app = Client(base, authorization=basic(f"login:{KEY}"))
    assert isinstance(app.get("/sdapi/v1/embeddings")["loaded"], dict)
    for name in "sd-models samplers loras hypernetworks script-info extensions sd-modules".split():
        assert isinstance(app.get(f"/sdapi/v1/{name}"), list)
    options = [sampler["options"] for sampler in app.get("/sdapi/v1/samplers")]
    assert all(isinstance(value, str) for values in options for value in values.values())
    body = {
        "prompt": "a cat", "sampler_index": "Euler a", "scheduler": "automatic", "seed": "123", "subseed": "",
        "subseed_strength": 0.0, "restore_faces": False, "alwayson_scripts": {}, "negative_prompt": "",
        "override_settings": {"forge_additional_modules": []}, **SMALL,
    }  # fmt: skip
    assert json.loads(app.post("/sdapi/v1/txt2img", body)["info"])["seed"] == 123
    assert opened(app.post("/sdapi/v1/img2img", {**body, "init_images": [PNG], "mask_blur": 4})["images"][0])
    assert app.post("/sdapi/v1/interrupt") == {}


def test_ai_render_gets_its_pictures_enlarges_them_and_reads_the_words_it_is_used_to(with_user):
    app = Client(with_user, **{"Accept-Encoding": "gzip, deflate, br"})
    body = {"prompt": "a cat", "sampler_index": "DPM++ 2M Karras", "init_images": [f"data:image/png;base64,{PNG}"]}
    assert opened(app.post("/sdapi/v1/img2img", {**body, **SMALL})["images"][0])
    wrong = app.ask("POST", "/sdapi/v1/img2img", json={**body, "sampler_index": "Nothing", **SMALL})
    assert (wrong.status_code, wrong.json()["detail"]) == (404, "Sampler not found")
    upscaler = next(one["name"] for one in app.get("/sdapi/v1/upscalers") if one["name"].startswith("Resize"))
    larger = app.post("/sdapi/v1/extra-single-image", {"image": PNG, "upscaler_1": upscaler, "upscaling_resize": 2})
    assert opened(larger["image"]).size == (128, 128)
    for path in ("model_list", "module_list"):
        assert app.ask("GET", f"/controlnet/{path}").json() == {"detail": "Not Found"}


def test_stablestudio_draws_redraws_enlarges_and_reads_pictures_from_a_browser(with_path):
    app = Client(with_path, Origin="https://studio.example")
    studio = {"sampler_name": "", "sampler_index": "", "save_images": True, "batch_size": 2, "prompt": "", **SMALL}
    assert app.get("/sdapi/v1/options", headers={"Content-Type": "application/json"})
    made = app.ask("POST", "/sdapi/v1/txt2img", json=studio)
    assert len(made.json()["images"]) == 2, "no grid before them"
    assert made.headers["access-control-allow-origin"] == "*"
    assert app.post("/sdapi/v1/options", {"sd_model_checkpoint": "blue"})["updated"]
    for path in ("sd-models", "samplers", "embeddings", "hypernetworks", "loras"):
        app.get(f"/sdapi/v1/{path}")
    again = app.post("/sdapi/v1/img2img", {**studio, "init_images": [made.json()["images"][0]], "batch_size": 1})
    assert json.loads(again["info"])["sd_model_name"] == "blue"
    assert app.post("/sdapi/v1/png-info", {"image": again["images"][0]})["info"]
    larger = {"image": PNG, "upscaler_1": "R-ESRGAN 4x+", "upscaling_resize": 4}
    assert opened(app.post("/sdapi/v1/extra-single-image", larger)["image"]).size == (256, 256)
    assert app.ask("POST", "/StableStudio/get-generated-images", json={}).json() == {"detail": "Not Found"}


def test_swarmui_asks_for_a_model_without_its_hash_and_names_a_lora_in_the_prompt(with_path):
    app = Client(with_path)
    title = app.get("/sdapi/v1/sd-models")[0]["title"].split(" [")[0]
    app.post("/sdapi/v1/options", {"sd_model_checkpoint": title})
    assert app.get("/sdapi/v1/options")["sd_model_checkpoint"].split(" [")[0] == title
    body = {"prompt": "a cat <lora:inky:0.5>", "sampler_name": "Euler a", "scheduler": "normal", **SMALL}
    assert opened(app.post("/sdapi/v1/txt2img", body)["images"][0])
    redrawn = app.post("/sdapi/v1/img2img", {**body, "init_images": [PNG], "denoising_strength": 0.5})
    assert opened(redrawn["images"][0])


def test_sd_webui_distributed_finds_its_worker_alive_and_gives_it_the_whole_processing_object(base):
    assert Client(base, authorization="Basic Tm9uZTpOb25l").ask("GET", "/sdapi/v1/memory").status_code == 401
    app = Client(base, authorization=basic(f"me:{KEY}"))
    assert {"free", "total"} <= app.get("/sdapi/v1/memory")["cuda"]["system"].keys()
    assert app.get("/sdapi/v1/script-info") == []
    app.post("/sdapi/v1/options", {"sd_model_checkpoint": "blue", "sd_vae": "Automatic"})
    body = {
        "prompt": "a cat", "outpath_samples": "/x", "sd_model": None, "cached_c": [None, None], "is_api": True,
        "sampler_name": "Euler a", "extra_generation_params": {}, "do_not_save_grid": True, **NAMES_NULL, **SMALL,
    }  # fmt: skip
    assert json.loads(app.post("/sdapi/v1/txt2img", body)["info"])["sd_model_name"] == "blue"
    for path in ("interrupt", "refresh-checkpoints", "refresh-loras"):
        assert app.ask("POST", f"/sdapi/v1/{path}").status_code == 200
    assert app.ask("POST", "/sdapi/v1/server-restart").json() == {"detail": "Not Found"}


def test_sd_api_mcp_and_image_generation_mcp_choose_their_models_in_two_ways(base):
    app = Client(base, authorization=basic(f"me:{KEY}"))
    app.post("/sdapi/v1/options", {"sd_model_checkpoint": "blue"})
    batch = {"upscaling_resize": 2, "upscaler_1": "R-ESRGAN 4x+", "imageList": [{"data": PNG, "name": "a.png"}]}
    assert [opened(image).size for image in app.post("/sdapi/v1/extra-batch-images", batch)["images"]] == [(128, 128)]
    body = {
        "prompt": "a cat", "sampler_name": "DPM++ 2M", "scheduler": "Karras", "distilled_cfg_scale": 3.5,
        "override_settings": {"sd_model_checkpoint": "red"}, **SMALL,
    }  # fmt: skip
    assert json.loads(app.post("/sdapi/v1/txt2img", body)["info"])["sd_model_name"] == "red"
    assert json.loads(app.post("/sdapi/v1/txt2img", {"prompt": "a", **SMALL})["info"])["sd_model_name"] == "blue"


def test_the_api_tests_of_a1111_and_the_scripts_of_sdnext_pass(base):
    app = Client(base, authorization=basic(f"me:{KEY}"))
    sent = app.get("/sdapi/v1/options")["send_seed"]
    app.post("/sdapi/v1/options", {"send_seed": not sent})
    assert app.get("/sdapi/v1/options")["send_seed"] is not sent
    lists = "cmd-flags samplers upscalers sd-models hypernetworks face-restorers realesrgan-models prompt-styles"
    for name in (*lists.split(), "embeddings"):
        app.get(f"/sdapi/v1/{name}")
    assert opened(app.post("/sdapi/v1/extra-single-image", {"image": PNG})["image"]).size == (64, 64)
    for sampler in ("Euler a", "PLMS", "DDIM", "UniPC"):
        assert app.post("/sdapi/v1/txt2img", {"prompt": "x", "sampler_index": sampler, **SMALL})["images"]
    inpaint = {"init_images": [PNG], "mask": PNG, "inpainting_mask_invert": True, "prompt": "x", **SMALL}
    assert app.post("/sdapi/v1/img2img", inpaint)["images"]
    assert app.get("/sdapi/v1/options", json={"a": "body of a GET"})["sd_vae"] == "Automatic"
    assert app.get("/queue/status")["queue_size"] == 0
    assert app.get("/sdapi/v1/progress")["state"]["job_timestamp"] == "0"


def test_a_key_that_expires_in_the_middle_tells_every_client_in_its_own_field(base):
    wrong = Client(base, Authorization=f"Bearer {SECOND}").ask("POST", "/sdapi/v1/txt2img", json={"prompt": "x"})
    body = wrong.json()
    assert (wrong.status_code, body["detail"], body["errors"]) == (401, body["message"], body["message"])


def test_agnai_and_risuai_draw_and_show_what_is_wrong_from_where_they_look(with_path):
    app = Client(with_path)
    agnai = {"prompt": "a cat", "negative_prompt": "", "model_override": "", "clip_skip": 0, "steps": 1, "n_iter": 1}
    wrong = app.ask("POST", "/sdapi/v1/txt2img", json={**agnai, "width": 64, "height": 64, "sampler_name": "Nothing"})
    assert (wrong.status_code, wrong.json()["message"]) == (404, "Sampler not found")
    assert opened(app.post("/sdapi/v1/txt2img", {**agnai, "clip_skip": 1, "width": 64, "height": 64})["images"][0])


def test_a_shell_and_a_home_automation_send_a_form_type_a_slash_too_many_and_get_their_picture(base):
    app = Client(base, authorization=basic(f"home:{KEY}"))
    body = json.dumps({"prompt": "a cat", **SMALL})
    for path in ("/sdapi/v1/txt2img/", "//sdapi/v1/txt2img", "/v1/txt2img"):
        made = app.ask("POST", path, data=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
        assert opened(made.json()["images"][0]), path
