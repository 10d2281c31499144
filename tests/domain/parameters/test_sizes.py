import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidRequest, NotGranted
from gateway.domain.jobs import Operation
from gateway.domain.keys import Grants, Names
from gateway.domain.overrides import Overrides
from gateway.domain.parameters.sizes import shrunk
from gateway.domain.plans import Caps
from tests.domain.pool import b64, backend, context, png_head, shaped

IMG = Operation.IMG2IMG


def img2img(init, ctx=None, **fields):
    return shaped({"init_images": [b64(png_head(*init))]} | fields, ctx or context(), IMG)


def size_of(request):
    return request.fields["width"], request.fields["height"], request.fields.get("resize_mode", 0)


def test_absent_sizes_are_those_of_sdnext():
    assert size_of(shaped({})) == (1024, 1024, 0)


def test_sides_are_rounded_down_to_eight():
    request = shaped({"width": 71, "height": 79})
    assert (size_of(request), request.expected) == ((64, 72, 0), (64, 72))


@pytest.mark.parametrize("side", [63, 7, 1, 0, -64])
def test_a_side_below_64_is_refused_since_sdnext_makes_1024_of_it(side):
    with pytest.raises(InvalidRequest) as caught:
        shaped({"width": side})
    assert caught.value.field == "width"


def test_absent_sizes_of_img2img_are_those_of_the_init_image_which_comes_back_rounded_up():
    request = img2img((97, 131))
    assert (size_of(request), request.expected) == ((97, 131, 0), (104, 136))


def test_the_init_images_own_size_needs_no_resize():
    assert size_of(img2img((97, 131), width=97, height=131)) == (97, 131, 0)


def test_another_size_than_the_init_images_is_resized_to_since_sdnext_would_ignore_it():
    request = img2img((512, 512), width=640, height=333)
    assert (size_of(request), request.expected) == ((640, 328, 1), (640, 328))


def test_one_absent_side_is_the_init_images():
    assert size_of(img2img((512, 768), width=640)) == (640, 768, 1)


def test_an_asked_resize_mode_is_kept():
    assert size_of(img2img((512, 512), width=640, resize_mode=2)) == (640, 512, 2)
    assert size_of(img2img((512, 512), resize_mode=3)) == (512, 512, 3)


def test_a_resize_mode_that_breaks_sdnext_is_refused():
    with pytest.raises(InvalidRequest):
        img2img((512, 512), resize_mode=5)


def test_a_scale_of_the_init_image_becomes_a_size():
    request = img2img((512, 256), scale_by=1.5, selected_scale_tab=1)
    assert size_of(request) == (768, 384, 1)
    assert "scale_by" not in request.fields


def test_an_init_image_too_small_to_work_on_is_refused_unless_a_size_is_asked():
    with pytest.raises(InvalidRequest, match="16x16"):
        img2img((16, 16))
    assert size_of(img2img((1, 1), width=512, height=512)) == (512, 512, 1)


def test_a_resize_uses_the_named_upscaler_and_none_is_nothing():
    assert img2img((64, 64), width=128, resize_name="lanczos").fields["resize_name"] == "Resize Lanczos"
    assert "resize_name" not in img2img((64, 64), width=128, resize_name="None").fields


# --- the plan's pixels -----------------------------------------------------------------------------


def test_a_picture_with_too_many_pixels_shrinks_in_its_shape_and_both_sides_are_told():
    request = shaped({"width": 4096, "height": 2048})
    width, height, _ = size_of(request)
    assert width * height <= Caps().generated_pixels
    assert width / height == pytest.approx(2.0, abs=0.02)
    assert request.adjustments == (f"width={width} (clamped from 4096)", f"height={height} (clamped from 2048)")


def test_a_large_init_image_is_worked_on_in_a_size_the_plan_allows():
    request = img2img((4000, 4000))
    assert size_of(request) == (2048, 2048, 1)
    assert math.prod(request.expected) <= Caps().generated_pixels


def test_a_forced_side_keeps_its_length_and_the_other_gives_way():
    request = shaped({"height": 4096}, context(overrides=Overrides(force={"width": 2048})))
    assert (request.fields["width"], request.fields["height"]) == (2048, 2048)


def test_a_forced_side_of_an_init_image_that_is_too_large_is_the_forced_one():
    request = img2img((2049, 2041), context(overrides=Overrides(force={"width": 2049})))
    assert size_of(request) == (2048, 2048, 1)


@given(st.integers(64, 10**9), st.integers(64, 10**9), st.integers(4096, 10**8))
def test_what_is_shrunk_fits_and_is_on_the_grid(width, height, pixels):
    small = shrunk((width, height), pixels)
    assert math.prod(small) <= pixels
    assert min(small) >= 64
    assert all(side % 8 == 0 for side in small)


# --- hires -------------------------------------------------------------------------------------------

HIRES = ("hr_resize_mode", "hr_scale", "hr_upscaler", "hr_force", "hr_denoising_strength", "hr_second_pass_steps")


def hires(**fields):
    request = shaped({"width": 512, "height": 512, "steps": 20, "enable_hr": True} | fields)
    return tuple(request.fields.get(name) for name in HIRES), request


def test_hires_in_a1111s_words_becomes_what_works_on_sdnext():
    sent, request = hires(hr_scale=2, hr_upscaler="Latent", denoising_strength=0.5)
    assert sent == (1, 2, "Latent Nearest", True, 0.5, 20)
    assert request.expected == (1024, 1024)


def test_hires_without_a_strength_takes_a1111s_and_with_zero_it_only_enlarges():
    assert hires(hr_upscaler="Lanczos")[0] == (1, 2, "Resize Lanczos", True, 0.75, 20)
    assert hires(denoising_strength=0)[0] == (1, 2, "Latent Nearest", None, None, None)


def test_hires_to_a_size_takes_the_missing_side_from_the_shape():
    _, request = hires(hr_resize_x=800)
    assert (request.fields["hr_resize_x"], request.fields["hr_resize_y"]) == (800, 800)
    assert "hr_scale" not in request.fields
    assert request.expected == (800, 800)


def test_hires_in_sdnexts_own_words_is_left_alone():
    sent, _ = hires(hr_resize_mode=2, hr_force=False, hr_scale=1.5, denoising_strength=0.5)
    assert sent == (2, 1.5, "Latent Nearest", False, None, None)


def test_without_hires_its_fields_are_gone_and_need_not_even_be_known():
    _, request = hires(enable_hr=False, hr_upscaler="no such thing", hr_scale=2, hr_sampler_name="x")
    assert not any(name.startswith("hr_") for name in request.fields)
    assert request.adjustments == ()


def test_hires_stays_within_the_plans_pixels_and_factor():
    _, request = hires(width=1024, height=1024, hr_scale=4)
    assert request.fields["hr_scale"] == 2
    assert request.adjustments[-1] == "hr_scale=2 (clamped from 4)"
    _, request = hires(hr_resize_x=9000, hr_resize_y=9000)
    assert math.prod(request.expected) <= Caps().generated_pixels


def test_hires_without_an_upscaler_takes_the_first_that_the_key_may_use():
    ctx = context(grants=Grants(upscalers=Names(("resize*",))))
    assert shaped({"enable_hr": True}, ctx).fields["hr_upscaler"] == "Resize Lanczos"
    with pytest.raises(NotGranted):
        shaped({"enable_hr": True, "hr_upscaler": "Latent"}, ctx)
    nearest = context(grants=Grants(upscalers=Names(("resize nearest",))))
    assert shaped({"enable_hr": True, "hr_upscaler": "None"}, nearest).fields["hr_upscaler"] == "Resize Nearest"


def test_the_keys_bound_on_the_strength_also_holds_for_the_second_pass():
    ctx = context(overrides=Overrides(maximum={"denoising_strength": 0.3}))
    assert shaped({"enable_hr": True, "denoising_strength": 0.9}, ctx).fields["hr_denoising_strength"] == 0.3


def test_a_pool_without_latent_upscalers_still_does_hires():
    pool = context(backend(upscalers=()))
    with pytest.raises(InvalidRequest, match="hr_upscaler"):
        shaped({"enable_hr": True}, pool)


def test_img2img_has_no_second_pass_and_says_so():
    request = img2img((64, 64), enable_hr=True, hr_scale=2)
    assert {name for name in request.fields if name.startswith(("hr_", "enable_hr"))} == set()
    assert "enable_hr (dropped: img2img has no second pass)" in request.adjustments
