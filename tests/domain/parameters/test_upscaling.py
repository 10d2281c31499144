import pytest

from gateway.domain.errors import InvalidRequest, NotGranted
from gateway.domain.jobs import Operation
from gateway.domain.keys import Grants, Names
from gateway.domain.plans import Caps
from tests.domain.pool import b64, context, png_head, shaped

IMAGE = b64(png_head(100, 50))


def upscaled(ctx=None, **fields):
    return shaped({"image": IMAGE, "upscaler_1": "Lanczos"} | fields, ctx or context(), Operation.UPSCALE)


def test_by_default_the_picture_is_doubled():
    request = upscaled()
    assert (request.expected, request.fields["upscaling_resize"], request.fields["upscaler_1"]) == (
        (200, 100),
        2,
        "Resize Lanczos",
    )
    assert request.model is None
    assert request.adjustments == ("upscaler_1=Resize Lanczos (resolved from Lanczos)",)


def test_the_picture_is_needed():
    with pytest.raises(InvalidRequest, match="image is missing") as caught:
        upscaled(image=None)
    assert caught.value.field == "image"


def test_without_an_upscaler_the_picture_keeps_its_size_and_that_is_told():
    request = upscaled(upscaler_1=None)
    assert (request.expected, request.fields["upscaler_1"]) == ((100, 50), "None")
    assert request.adjustments == ("upscaler_1=None (none was named: the size stays)",)
    assert upscaled(upscaler_1=None, upscaler_2="Nearest").expected == (200, 100)
    assert upscaled(upscaler_1="None").adjustments == ()


@pytest.mark.parametrize("factor", [0.5, 0, 9, -1, "x"])
def test_a_factor_outside_1_to_8_is_refused(factor):
    with pytest.raises(InvalidRequest) as caught:
        upscaled(upscaling_resize=factor)
    assert caught.value.field == "upscaling_resize"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"resize_mode": 1, "upscaling_resize_w": 300, "upscaling_resize_h": 300}, (300, 300)),
        (
            {"resize_mode": 1.0, "upscaling_resize_w": 300, "upscaling_resize_h": 100, "upscaling_crop": False},
            (300, 150),
        ),
        ({"resize_mode": 1}, (512, 512)),
        ({"upscaler_1": "None", "upscaling_resize": 4}, (100, 50)),
        ({"upscaler_1": "None", "upscaler_2": "Nearest", "upscaling_resize": 4}, (400, 200)),
    ],
)
def test_the_size_that_must_come_back_is_known(fields, expected):
    ctx = context(caps=Caps(resize_factor=20))
    assert upscaled(ctx, **fields).expected == expected


def test_a_resize_mode_between_two_modes_is_refused():
    with pytest.raises(InvalidRequest, match="resize_mode"):
        upscaled(resize_mode=0.5)


def test_pixels_and_factor_stay_within_the_plan_and_are_told():
    request = upscaled(context(caps=Caps(upscaled_pixels=45_000)), upscaling_resize=8)
    assert (request.fields["upscaling_resize"], request.expected) == (3, (300, 150))
    assert request.adjustments[-1] == "upscaling_resize=3 (clamped from 8)"
    request = upscaled(
        context(caps=Caps(resize_factor=2)), resize_mode=1, upscaling_resize_w=800, upscaling_resize_h=400
    )
    assert request.expected == (200, 100)


def test_a_latent_upscaler_does_nothing_here_and_is_refused():
    with pytest.raises(InvalidRequest, match="only as hr_upscaler"):
        upscaled(upscaler_1="Latent")


def test_both_upscalers_must_be_granted():
    ctx = context(grants=Grants(upscalers=Names(("resize lanczos",))))
    with pytest.raises(NotGranted):
        upscaled(ctx, upscaler_2="Nearest")


def test_face_restoration_that_sdnext_ignores_is_told_and_zero_is_nothing():
    assert "gfpgan_visibility (dropped)" in upscaled(gfpgan_visibility=1).adjustments
    assert len(upscaled(gfpgan_visibility=0, codeformer_visibility=0.0, show_extras_results=True).adjustments) == 1


def test_an_upscale_is_priced_by_what_comes_back():
    price = upscaled(upscaling_resize=4).price
    assert (price.images, price.output_megapixels, price.answer_bytes, price.input_bytes) == (
        1,
        0.08,
        320_000,
        len(IMAGE),
    )
