"""The documented API over real processes: what the page promises, and what callers never get to see of a pool's
troubles.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from io import BytesIO

import pytest
from PIL import Image

from tests.support.patience import PATIENCE_S
from tests.support.pools import SMALL
from tests.support.processes import wait_until

SECOND = "sk-second-0123456789abcdefghij"
FAST = {"seconds_per_megapixel_step": "0.01", "swap_seconds": "0.05"}
GENEROUS = {"requests_per_minute": 1_000_000, "burst": 1_000_000, "max_queued": 2000, "max_concurrency": 8}
CALL = {**SMALL, "sd_model_checkpoint": "red"}


def picture(base64_text):
    return Image.open(BytesIO(base64.b64decode(base64_text)))


def arm(sim, **fault):
    sim.ask("/__sim/faults", fault, method="POST")


def test_the_three_posts_of_the_page_do_what_it_says_under_both_paths(pool):
    pool.add_sim("one", "red", upscalers="fixed", upscaler_weights="ESRGAN 4x GAN", **FAST)
    pool.start()
    made = pool.post({**CALL, "width": 1024, "height": 1024, "sampler_name": "DPM++ 2M Karras", "cfg_scale": 7}).json()
    assert picture(made["images"][0]).size == (1024, 1024)
    for path in ("/sdapi/v1/img2img", "/v1/img2img"):
        changed = pool.post({**CALL, "init_images": made["images"], "width": 768, "height": 768}, path=path).json()
        assert picture(changed["images"][0]).size == (768, 768)
    for path in ("/sdapi/v1/extra-single-image", "/v1/upscale-img"):
        upscale = {"image": made["images"][0], "upscaler_1": "R-ESRGAN 4x+", "upscaling_resize": 2}
        assert picture(pool.post(upscale, path=path).json()["image"]).size == (2048, 2048)


@pytest.mark.parametrize(
    "paths",
    [
        ("/sdapi/v1/sd-models", "/v1/img-models", "/v1/sd-models"),
        ("/sdapi/v1/upscalers", "/v1/upscalers"),
        ("/sdapi/v1/samplers", "/v1/img-samplers"),
        ("/sdapi/v1/options", "/v1/img-options"),
    ],
    ids=lambda paths: paths[0],
)
def test_the_four_lists_of_the_page_are_the_same_under_every_name(pool, paths):
    pool.add_sim("one", "red,blue", **FAST)
    pool.start()
    answers = [pool.get(path) for path in paths]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1


def test_a_backend_that_dies_under_load_costs_no_caller_a_picture(pool):
    one, _ = pool.add_sim("one", "red", **FAST), pool.add_sim("two", "red", **FAST)
    pool.start()
    pool.add_key(SECOND, "many", GENEROUS)
    one.ask("/__sim/hold?phase=inference", method="POST")
    answers = []
    caller = threading.Thread(target=lambda: answers.extend(pool.post_many([CALL] * 30, SECOND)))
    caller.start()
    wait_until(lambda: one.received("/sdapi/v1/txt2img"), "a job runs on the backend that will die")
    one.process.process.kill()
    caller.join(timeout=PATIENCE_S)
    assert Counter(answer.status_code for answer in answers) == {200: 30}


@pytest.mark.parametrize(
    "fault", ["401", "429", "500", "html", "empty", "wrong-model", "truncated", "cut-json", "reset", "gzip", "oom"]
)
def test_a_backend_with_a_fault_is_never_the_callers_fault_nor_taken_for_success(pool, fault):
    one, two = pool.add_sim("one", "red", **FAST), pool.add_sim("two", "red", **FAST)
    pool.start()
    pool.add_key(SECOND, "many", GENEROUS)
    arm(one, name=fault)
    answers = pool.post_many([{**CALL, "seed": seed} for seed in range(12)], SECOND)
    assert Counter(answer.status_code for answer in answers) == {200: 12}
    assert all(picture(answer.json()["images"][0]).size == (64, 64) for answer in answers)
    assert len(two.received("/sdapi/v1/txt2img")) == 12


def test_a_thousand_bad_requests_of_one_client_eject_nothing(pool):
    one, two = pool.add_sim("one", "red", **FAST), pool.add_sim("two", "red", **FAST)
    pool.start()
    pool.add_key(SECOND, "careless", GENEROUS)
    bad = [{**CALL, "sampler_name": "Nothing"}, {**CALL, "steps": "many"}, {**CALL, "sd_model_checkpoint": "nothing"}]
    answers = pool.post_many(bad * 334, SECOND)
    assert {answer.status_code for answer in answers} == {404, 422}
    assert pool.post({**CALL, "seed": 1}).status_code == 200
    assert pool.valkey.client.hgetall("{gateway}:bstate") == {"one": "up", "two": "up"}
    assert len(one.received("/sdapi/v1/txt2img")) + len(two.received("/sdapi/v1/txt2img")) == 1


def test_a_plain_picture_is_the_same_before_and_after_another_tenants_loras(pool):
    pool.add_sim("one", "red", loras="inky", **FAST)
    pool.start()
    pool.add_key(SECOND, "painter", GENEROUS)
    plain = {**CALL, "seed": 5}
    before = pool.post(plain).json()["images"]
    for strength in ("0.5", "0.1", "1.0"):
        painted = pool.post({**plain, "prompt": f"a cat <lora:inky:{strength}>"}, SECOND).json()["images"]
        assert painted != before
    assert pool.post(plain).json()["images"] == before


@pytest.mark.parametrize("trouble", ["poisoned", "deleted", "rescanned"])
def test_a_checkpoint_gone_bad_on_one_backend_fails_no_call_that_another_can_serve(pool, trouble):
    one, _ = pool.add_sim("one", "red,blue", **FAST), pool.add_sim("two", "red,blue", **FAST)
    pool.start()
    pool.add_key(SECOND, "many", GENEROUS)
    if trouble == "poisoned":
        one.ask("/__sim/poison", method="POST")
    elif trouble == "rescanned":  # its list is empty and its switches fail until this ends, after the calls
        one.ask("/__sim/hold?phase=rescan", method="POST")
        rescan = threading.Thread(target=lambda: one.ask("/sdapi/v1/refresh-checkpoints", {}, "POST"), daemon=True)
        rescan.start()
        wait_until(lambda: one.ask("/sdapi/v1/sd-models") == [], "the rescan is under way")
    else:
        one.ask("/__sim/files?title=blue", method="DELETE")
    for model in ("red", "blue"):
        answers = pool.post_many([{**CALL, "sd_model_checkpoint": model, "seed": seed} for seed in range(8)], SECOND)
        assert Counter(answer.status_code for answer in answers) == {200: 8}
        assert {json.loads(answer.json()["info"])["sd_model_name"] for answer in answers} == {model}
    if trouble == "rescanned":
        one.ask("/__sim/hold?phase=rescan", method="DELETE")
        rescan.join(timeout=PATIENCE_S)
