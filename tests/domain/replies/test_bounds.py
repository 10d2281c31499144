import base64
import json
import random
from io import BytesIO

import pytest
from PIL import Image

from gateway.domain.jobs import Operation
from gateway.domain.replies import AttemptFailed, Flaw, most_answer_bytes, verify
from gateway.domain.replies.bounds import most_commas
from tests.domain.pool import GPU, b64, png_head, shaped


def noise(width, height, mode="RGBA"):
    samples = random.Random(1).randbytes(len(mode) * width * height)  # noqa: S311 - noise, the same every time
    file = BytesIO()
    Image.frombytes(mode, (width, height), samples).save(file, "PNG", compress_level=0)
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize("prompt", ["a cat", "\N{CAT FACE}," * 4_000, '"\\\n' * 4_000])
@pytest.mark.parametrize("images", [1, 3])
def test_the_largest_honest_answer_fits(prompt, images):
    """Pictures that do not pack, with an alpha channel, and each prompt told wherever a server tells it."""
    request = shaped({"prompt": prompt, "width": 256, "height": 192, "batch_size": images})
    told = {
        "prompt": prompt,
        "all_prompts": [prompt] * images,
        "infotexts": [prompt + "\nTemplate: " + prompt] * images,
    }
    answer = {"images": [noise(256, 192)] * images, "parameters": {"prompt": prompt}, "info": json.dumps(told)}
    body = json.dumps(answer).encode()
    assert len(body) <= most_answer_bytes(request, 100)
    assert body.count(b",") <= most_commas(request)


def test_a_mask_that_comes_back_beside_the_picture_fits_too():
    asked = {"width": 256, "height": 192, "init_images": [b64(png_head(256, 192))], "mask": b64(png_head(256, 192))}
    request = shaped({**asked, "include_mask": True}, operation=Operation.IMG2IMG)
    assert len(json.dumps({"images": [noise(256, 192)] * 3})) <= most_answer_bytes(request, 0)


def test_a_small_picture_cannot_have_a_large_answer():
    assert most_answer_bytes(shaped({"width": 64, "height": 64}), 500) < 1_200_000


def test_an_upscale_is_bound_by_the_size_that_was_asked_for():
    request = shaped(
        {"image": b64(png_head(64, 64)), "upscaler_1": "lanczos", "upscaling_resize": 2}, operation=Operation.UPSCALE
    )
    assert most_answer_bytes(request, 0) - 1_000_000 == pytest.approx(144 * 144 * 16 / 3, abs=1)


@pytest.mark.parametrize("body", [b'{"images":[' + b"1," * 300_000 + b"1]}", b'{"info":"' + b"[]," * 300_000 + b'"}'])
def test_an_answer_of_very_many_values_is_not_read(body):
    """300,000 values of a few bytes are hundreds of megabytes once they are read."""
    verdict = verify(shaped({}), GPU, 200, body)
    assert isinstance(verdict, AttemptFailed)
    assert (verdict.flaw, "more values" in verdict.said) == (Flaw.UNREADABLE, True)
    assert isinstance(verify(shaped({}), GPU, 500, body), AttemptFailed)
