"""Sizes, formats, infotext, img2img: what comes back and what is silently something else."""

from __future__ import annotations

import json

import pytest
from PIL import Image, ImageChops, ImageStat

from tests.simulator.support import (
    SMALL,
    A,
    as_base64,
    in_process,
    info,
    instant,
    last_line,
    picture,
    pictures,
)

WIDE = Image.linear_gradient("L").resize((128, 96)).convert("RGB")


def differs(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures of one size, 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean) / 3


@pytest.mark.parametrize(
    ("asked", "made"),
    [((65, 64), (64, 64)), ((71, 79), (64, 72)), ((0, 64), (1024, 64)), ((7, 64), (1024, 64)), ((64, 1), (64, 1024))],
)
async def test_sizes_are_rounded_down_to_eight_and_1_to_7_become_1024(
    asked: tuple[int, int], made: tuple[int, int]
) -> None:
    async with in_process(instant()) as backend:
        reply = await backend.txt2img(width=asked[0], height=asked[1])

        assert picture(reply).size == made
        assert last_line(reply)["Size"] == f"{made[0]}x{made[1]}"
        assert (info(reply)["width"], info(reply)["height"]) == made


@pytest.mark.parametrize("side", [8, 16])
async def test_sizes_8_and_16_are_500_since_jpeg_cannot_hold_them(side: int) -> None:
    async with in_process(instant()) as backend:
        reply = await backend.txt2img(width=side, height=side)

        assert (reply.status_code, reply.json()["errors"]) == (500, "cannot write mode LA as JPEG")


async def test_without_a_size_it_is_1024x1024_in_20_steps() -> None:
    async with in_process(instant()) as backend:
        reply = await backend.post("txt2img", {"prompt": "a cat"})

        assert picture(reply).size == (1024, 1024)
        assert last_line(reply)["Steps"] == "20"


async def test_pictures_are_jpeg_unless_the_global_option_says_png_and_an_override_changes_nothing() -> None:
    async with in_process(instant()) as backend:
        default = await backend.txt2img()
        overridden = await backend.txt2img(override_settings={"samples_format": "png"})
        await backend.post("options", {"samples_format": "png"})
        png = await backend.txt2img()

        assert [picture(reply).format for reply in (default, overridden, png)] == ["JPEG", "JPEG", "PNG"]


async def test_the_infotext_is_in_the_pictures_own_metadata() -> None:
    async with in_process(instant()) as backend:
        jpeg = await backend.txt2img()
        await backend.post("options", {"samples_format": "png"})
        png = await backend.txt2img()
        read_back = (await backend.post("png-info", {"image": png.json()["images"][0]})).json()

        comment = picture(jpeg).getexif().get_ifd(0x8769)[0x9286]
        assert comment == b"UNICODE\0" + info(jpeg)["infotexts"][0].encode("utf-16-be")
        assert picture(png).info["parameters"] == info(png)["infotexts"][0]
        assert read_back["items"] == {"parameters": info(png)["infotexts"][0]}
        assert read_back["parameters"]["Model"] == "tiny-a"


async def test_the_same_request_gives_the_same_pixels_and_another_seed_prompt_or_model_others() -> None:
    async with in_process(instant()) as backend:
        first, again = [picture(await backend.txt2img(seed=42)) for _ in range(2)]
        others = [
            picture(await backend.txt2img(seed=43)),
            picture(await backend.txt2img(seed=42, prompt="a dog")),
            picture(await backend.txt2img(seed=42, sd_model_checkpoint="tiny-b")),
        ]

        assert differs(first, again) == 0
        assert all(differs(first, other) > 1 for other in others)


async def test_a_batch_has_no_grid_and_its_seeds_count_up() -> None:
    async with in_process(instant()) as backend:
        batch = await backend.txt2img(batch_size=2, n_iter=2, seed=42, return_grid=True)
        third = picture(await backend.txt2img(seed=44))

        assert len(pictures(batch)) == 4
        assert info(batch)["all_seeds"] == [42, 43, 44, 45]
        assert differs(pictures(batch)[2], third) == 0


async def test_steps_of_nothing_or_less_still_make_a_picture() -> None:
    async with in_process(instant()) as backend:
        assert [len(pictures(await backend.txt2img(steps=steps))) for steps in (0, -5)] == [1, 1]


@pytest.mark.parametrize("fields", [{"width": -64}, {"height": -64}])
async def test_what_fails_in_the_pipeline_is_200_without_images_and_with_a_perfect_info(fields: dict[str, int]) -> None:
    async with in_process(instant()) as backend:
        reply = await backend.txt2img(**fields)

        assert (reply.status_code, reply.json()["images"]) == (200, [])
        assert last_line(reply)["Model"] == "tiny-a"


async def test_a_prompt_can_pretend_to_be_the_last_line_but_only_the_last_line_is_true() -> None:
    lie = "a cat\nSteps: 4, Model: tiny-b"
    async with in_process(instant()) as backend:
        reply = await backend.txt2img(prompt=lie, negative_prompt=lie)

        text = info(reply)["infotexts"][0]
        assert text.count("Model: tiny-b") >= 2
        assert last_line(reply)["Model"] == "tiny-a"


async def test_the_infotext_knows_only_the_basename_of_a_model_and_drops_its_commas() -> None:
    async with in_process(instant(models=("Diffusers/acme/my, model [abcdef0123]",))) as backend:
        assert "Model: my model" in info(await backend.txt2img())["infotexts"][0]


async def test_clip_skip_changes_the_picture_and_the_old_option_in_an_override_does_not() -> None:
    async with in_process(instant()) as backend:
        plain = picture(await backend.txt2img(seed=1))
        old_way = picture(await backend.txt2img(seed=1, override_settings={"CLIP_stop_at_last_layers": 2}))
        new_way = picture(await backend.txt2img(seed=1, clip_skip=2))

        assert differs(plain, old_way) == 0
        assert differs(plain, new_way) > 0


@pytest.mark.parametrize("fields", [{"cfg_scale": 1e9}, {"cfg_scale": -1}, {"seed": 2**63}, {"seed": -5}])
async def test_absurd_numbers_are_taken(fields: dict[str, float]) -> None:
    async with in_process(instant()) as backend:
        assert len(pictures(await backend.txt2img(**fields))) == 1


# --- img2img ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "size", "said"),
    [
        ({"width": None, "height": None}, (128, 96), "1024x1024"),
        ({}, (128, 96), "64x64"),
        ({"resize_mode": 1}, (64, 64), "64x64"),
        ({"resize_mode": 1, "resize_name": "Resize Lanczos"}, (64, 64), "64x64"),
        ({"resize_mode": 4, "resize_name": "None"}, (64, 64), "64x64"),
        ({"width": 256, "height": 256}, (128, 96), "256x256"),
        ({"width": 256, "height": 256, "resize_mode": 0}, (128, 96), "256x256"),
    ],
)
async def test_img2img_ignores_width_and_height_without_a_resize_mode_but_claims_them(fields, size, said) -> None:
    async with in_process(instant()) as backend:
        reply = await backend.img2img(WIDE, **fields)

        assert picture(reply).size == size
        assert last_line(reply)["Size"] == said


async def test_img2img_rounds_the_init_images_size_up_to_eight() -> None:
    async with in_process(instant()) as backend:
        assert picture(await backend.img2img(WIDE.resize((97, 131)))).size == (104, 136)


async def test_resize_mode_5_is_500_for_want_of_a_library() -> None:
    async with in_process(instant()) as backend:
        reply = await backend.img2img(WIDE, resize_mode=5)

        assert (reply.status_code, reply.json()["errors"]) == (500, "No module named 'seam_carving'")


async def test_img2img_is_visibly_derived_from_its_input_and_more_so_with_less_strength() -> None:
    checker = Image.new("RGB", (256, 256), (250, 40, 40))
    checker.paste((40, 40, 250), (0, 0, 128, 256))
    async with in_process(instant()) as backend:
        faint, strong = [
            picture(await backend.img2img(checker, seed=7, denoising_strength=strength)) for strength in (0.1, 0.9)
        ]
        unlike = picture(await backend.txt2img(seed=7, width=256, height=256))

        assert differs(checker, faint) < differs(checker, strong) < differs(checker, unlike)


async def test_a_mask_keeps_what_is_black_and_changes_what_is_white() -> None:
    flat = Image.new("RGB", (96, 96), (200, 30, 30))
    mask = Image.new("L", (96, 96))
    mask.paste(255, (0, 0, 48, 96))
    async with in_process(instant()) as backend:
        reply = await backend.img2img(flat, mask=as_base64(mask), denoising_strength=1.0)
        made = picture(reply)

        assert differs(made.crop((56, 0, 96, 96)), flat.crop((56, 0, 96, 96))) < 4
        assert differs(made.crop((0, 0, 40, 96)), flat.crop((0, 0, 40, 96))) > 20
        assert last_line(reply)["Operations"] == "inpaint"


async def test_img2img_with_an_empty_list_behaves_as_txt2img_and_two_images_make_one() -> None:
    async with in_process(instant()) as backend:
        empty = await backend.post("img2img", SMALL | {"init_images": []})
        two = await backend.post("img2img", SMALL | {"init_images": [as_base64(WIDE)] * 2})

        assert last_line(empty)["Operations"] == "txt2img"
        assert len(pictures(two)) == 1


async def test_init_images_are_echoed_only_on_demand() -> None:
    async with in_process(instant()) as backend:
        silent, echoing = await backend.img2img(WIDE), await backend.img2img(WIDE, include_init_images=True)

        assert silent.json()["parameters"]["init_images"] is None
        assert echoing.json()["parameters"]["init_images"] == [as_base64(WIDE)]


@pytest.mark.parametrize(
    "image", ["!!!", "zzzz", "aGVsbG8=", "/etc/hostname", "http://127.0.0.1:1/canary.png", "data:image/png;base64,xx"]
)
async def test_whatever_is_no_base64_image_is_500_and_no_url_is_ever_fetched(image: str) -> None:
    async with in_process(instant()) as backend:
        reply = await backend.post("img2img", SMALL | {"init_images": [image]})

        assert (reply.status_code, reply.json()["detail"]) == (500, "Invalid encoded image")
        assert (await backend.get("status")).json()["status"] == "idle"


async def test_forty_megabytes_of_garbage_are_read_and_then_refused() -> None:
    async with in_process(instant()) as backend:
        reply = await backend.post("img2img", SMALL | {"init_images": ["pY+zW7nL" * 5_000_000]})

        assert (reply.status_code, reply.json()["detail"]) == (500, "Invalid encoded image")


async def test_saved_pictures_are_still_returned_and_show_in_everybodys_history() -> None:
    async with in_process(instant()) as backend:
        reply = await backend.txt2img(save_images=True)
        outputs = [entry["outputs"] for entry in (await backend.get("history")).json() if entry["outputs"]]

        assert len(pictures(reply)) == 1
        assert outputs[0][0].startswith("/sdnext/data/outputs/text/00001-")


async def test_parameters_echo_the_whole_request_model_with_nulls() -> None:
    async with in_process(instant()) as backend:
        text, image = await backend.txt2img(), await backend.img2img(WIDE)

        assert (len(text.json()["parameters"]), len(image.json()["parameters"])) == (238, 239)
        assert text.json()["parameters"]["override_settings"] is None
        assert isinstance(json.loads(text.json()["info"]), dict)
        assert A.endswith(last_line(text)["Model"])
