import json

from gateway.domain.jobs import Operation
from gateway.domain.replies import Delivered, repair, verify
from tests.domain.pool import GPU, b64, png_head, raw, shaped
from tests.domain.replies.answers import good, picture

A1111_KEYS = {  # what strict clients require of `info`
    *(
        "prompt",
        "all_prompts",
        "negative_prompt",
        "all_negative_prompts",
        "seed",
        "all_seeds",
        "subseed",
        "all_subseeds",
    ),
    *("subseed_strength", "width", "height", "sampler_name", "cfg_scale", "steps", "batch_size", "restore_faces"),
    *("face_restoration_model", "sd_model_name", "sd_model_hash", "sd_vae_name", "sd_vae_hash", "seed_resize_from_w"),
    *(
        "seed_resize_from_h",
        "denoising_strength",
        "extra_generation_params",
        "index_of_first_image",
        "infotexts",
        "styles",
    ),
    *("job_timestamp", "clip_skip", "is_using_inpainting_conditioning", "version"),
}
REQUEST = shaped({"width": 64, "height": 64, "negative_prompt": "bad", "steps": 4})


def test_the_answer_has_pictures_parameters_and_a_json_string_with_every_key_of_a1111():
    body = good(1)
    answer = json.loads(bytes(repair(REQUEST, verify(REQUEST, GPU, 200, body))))
    assert list(answer) == ["images", "parameters", "info"]
    assert answer["images"] == json.loads(body)["images"]
    info = json.loads(answer["info"])
    assert info.keys() >= A1111_KEYS
    assert (info["sd_model_name"], info["seed"], info["steps"], info["width"]) == ("tiny-a", 42, 4, 64)


def test_the_parameters_are_the_effective_request_without_pictures_and_nulls():
    request = shaped({"init_images": [b64(png_head(64, 64))], "extra": {}}, operation=Operation.IMG2IMG)
    answer = json.loads(bytes(repair(request, Delivered((raw(picture()),), {}))))
    assert "init_images" not in answer["parameters"]
    assert answer["parameters"]["sd_model_checkpoint"] == "tiny-a"
    assert None not in answer["parameters"].values()


def test_the_sizes_are_those_of_the_picture():
    delivered = Delivered((raw(picture(104, 136)),), {"width": 64, "height": 64}, size=(104, 136))
    info = json.loads(json.loads(bytes(repair(REQUEST, delivered)))["info"])
    assert (info["width"], info["height"]) == (104, 136)


def test_an_interrupted_job_without_a_picture_still_has_a_valid_info():
    answer = json.loads(bytes(repair(REQUEST, Delivered((), {}, interrupted=True))))
    info = json.loads(answer["info"])
    assert answer["images"] == []
    assert info["interrupted"] is True
    assert info.keys() >= A1111_KEYS


def test_an_upscale_has_its_picture_and_says_what_was_done():
    request = shaped({"image": b64(png_head(64, 64)), "upscaler_1": "lanczos"}, operation=Operation.UPSCALE)
    answer = json.loads(
        bytes(repair(request, Delivered((raw("abc"),), {}, html_info="Size: 128x128", size=(128, 128))))
    )
    assert (answer["image"], answer["html_info"]) == ("abc", "Size: 128x128")
    done = json.loads(answer["info"])
    assert (done["upscaler_1"], done["width"], done["upscaling_resize"]) == ("Resize Lanczos", 128, 2)
    assert "image" not in done
