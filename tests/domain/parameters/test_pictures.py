import json

import pytest

from gateway.domain.errors import BodyTooLarge, InvalidRequest
from gateway.domain.jobs import Operation
from gateway.domain.plans import Caps
from tests.domain.pool import PICTURE, b64, context, png, png_head, shaped


def img2img(ctx=None, **fields):
    return shaped(fields, ctx or context(), Operation.IMG2IMG)


@pytest.mark.parametrize("images", [None, [], "x", {}, [None], [7], [[]], [""], [PICTURE] * 9])
def test_at_least_one_and_at_most_eight_pictures_are_needed(images):
    with pytest.raises(InvalidRequest) as caught:
        img2img(init_images=images)
    assert caught.value.field.startswith("init_images")


def test_the_picture_at_fault_is_named():
    with pytest.raises(InvalidRequest, match=r"init_images\[1\]"):
        img2img(init_images=[PICTURE, "https://example.com/a.png"])


def test_every_picture_at_fault_is_named_at_once():
    with pytest.raises(
        InvalidRequest, match=r"init_images\[0\] must be .* init_images\[2\] must be .* mask must be"
    ) as caught:
        img2img(init_images=["x", PICTURE, PICTURE[:100]], mask="upload:1")
    faults = (caught.value, *caught.value.others)
    assert [fault.field for fault in faults] == ["init_images[0]", "init_images[2]", "mask"]


def test_what_is_not_used_of_a_picture_is_told():
    request = img2img(init_images=[b64(png(64, 64) + b"trailer")])
    assert request.adjustments == ("init_images[0] (what stood behind its end is left out)",)


def test_a_mask_is_checked_like_a_picture_and_an_empty_one_is_none():
    assert json.loads(bytes(img2img(init_images=[PICTURE], mask=PICTURE).fields["mask"])) == PICTURE
    assert "mask" not in img2img(init_images=[PICTURE], mask="").fields
    with pytest.raises(InvalidRequest, match="mask"):
        img2img(init_images=[PICTURE], mask="upload:1")


def test_pixels_are_capped_by_the_plan_and_bytes_are_counted():
    small = context(caps=Caps(input_pixels=100_000))
    with pytest.raises(BodyTooLarge):
        img2img(small, init_images=[PICTURE])
    assert img2img(init_images=[PICTURE, PICTURE], mask=PICTURE).price.input_bytes == 3 * len(PICTURE)


def test_the_first_picture_gives_the_size():
    request = img2img(init_images=[b64(png_head(320, 240)), PICTURE])
    assert request.expected == (320, 240)
