import json

import pytest

from gateway.domain.errors import BodyTooLarge, InvalidRequest
from gateway.domain.parameters.batches import single_bodies
from gateway.domain.plans import Caps
from tests.domain.pool import PICTURE, b64, context, png_head

CTX = context()
GOOD, BROKEN = {"data": PICTURE, "name": "a"}, {"data": PICTURE[:100]}


def bodies(pictures, ctx=CTX, **fields):
    return single_bodies(json.dumps({"imageList": pictures, **fields}).encode(), ctx)


def test_a_batch_is_taken_apart_into_upscales_that_share_all_but_the_picture():
    one, two = bodies([GOOD, {"data": b64(png_head(8, 8))}], upscaler_1="Lanczos", upscaling_resize=2)
    assert json.loads(one) == {"upscaler_1": "Lanczos", "upscaling_resize": 2, "image": PICTURE}
    assert json.loads(two)["image"] == b64(png_head(8, 8))


def test_every_broken_picture_is_named_before_anything_is_sent():
    with pytest.raises(InvalidRequest, match=r"imageList\[1\] must be .* imageList\[3\] must be") as caught:
        bodies([GOOD, BROKEN, GOOD, {"data": "http://x/y.png"}])
    assert [fault.field for fault in (caught.value, *caught.value.others)] == ["imageList[1]", "imageList[3]"]


@pytest.mark.parametrize(
    "pictures", [None, [], {}, [GOOD] * 9, [3], ["AAAA"], [{}], [{"data": None}], [{"data": 7}], [[]]]
)
def test_a_list_that_is_none_is_refused_by_its_name(pictures):
    with pytest.raises(InvalidRequest) as caught:
        bodies(pictures)
    assert caught.value.field.startswith("imageList")


def test_what_is_wrong_for_all_of_them_is_refused_as_for_one():
    with pytest.raises(InvalidRequest) as caught:
        bodies([GOOD], upscaler_1="nothing")
    assert caught.value.field == "upscaler_1"
    with pytest.raises(BodyTooLarge, match=r"imageList\[0\] has 512x512 pixels"):
        bodies([GOOD], context(caps=Caps(input_pixels=1_000)))
    with pytest.raises(InvalidRequest):
        single_bodies(b"", CTX)
