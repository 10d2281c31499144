import pytest

from gateway.domain.errors import InvalidRequest
from gateway.domain.jobs import Operation
from gateway.domain.overrides import Overrides
from gateway.domain.parameters import OperatorPolicy
from gateway.domain.plans import Caps
from tests.domain.pool import PICTURE, b64, context, png_head, shaped


def bounded(fields, caps=None, **bounds):
    return shaped(fields, context(caps=caps or Caps(), overrides=Overrides(**bounds)))


def test_steps_of_every_pass_stay_within_the_plan():
    request = bounded(
        {"steps": 500, "enable_hr": True, "hr_second_pass_steps": 500, "refiner_steps": 500, "detailer_steps": 500}
    )
    assert {request.fields[n] for n in ("steps", "hr_second_pass_steps", "refiner_steps", "detailer_steps")} == {150}
    assert "steps=150 (clamped from 500)" in request.adjustments


def test_the_number_of_batches_gives_way_before_their_size():
    assert [bounded({"batch_size": 4, "n_iter": 5}).fields[n] for n in ("batch_size", "n_iter")] == [4, 2]
    assert [bounded({"batch_size": 50, "n_iter": 5}).fields[n] for n in ("batch_size", "n_iter")] == [8, 1]


@pytest.mark.parametrize(
    ("field", "value"), [("batch_size", 0), ("n_iter", 0), ("steps", 0), ("steps", -1), ("n_iter", -3)]
)
def test_nothing_less_than_one_is_asked_of_a_backend(field, value):
    with pytest.raises(InvalidRequest) as caught:
        bounded({field: value})
    assert caught.value.field == field


def test_the_keys_own_bounds_hold_for_filled_values_too():
    request = bounded({}, maximum={"steps": 12.9, "cfg_scale": 4.5}, minimum={"width": 1200})
    assert [request.fields[n] for n in ("steps", "cfg_scale", "width")] == [12, 4.5, 1200]
    assert request.adjustments == (
        "width=1200 (clamped from 1024)",
        "steps=12 (clamped from 20)",
        "cfg_scale=4.5 (clamped from 6)",
    )


def test_where_minimum_and_maximum_disagree_the_maximum_wins_and_the_plan_over_both():
    assert bounded({}, minimum={"steps": 90}, maximum={"steps": 50}).fields["steps"] == 50
    assert bounded({}, Caps(steps=40), minimum={"steps": 90}).fields["steps"] == 40


def test_the_pools_bounds_win_over_the_keys():
    operator = OperatorPolicy(minimum={"cfg_scale": 2}, maximum={"steps": 30})
    ctx = context(overrides=Overrides(minimum={"cfg_scale": 1, "steps": 90}), operator=operator)
    assert [shaped({"steps": 99, "cfg_scale": 0}, ctx).fields[n] for n in ("steps", "cfg_scale")] == [30, 2]


def test_a_bound_on_a_side_keeps_it_a_multiple_of_eight():
    assert bounded({}, maximum={"width": 1001}).fields["width"] == 1000
    assert bounded({}, minimum={"width": 1025}).fields["width"] == 1032
    assert bounded({}, maximum={"width": 3}).fields["width"] == 64


def test_a_bound_on_an_img2img_side_makes_it_a_resize():
    ctx = context(overrides=Overrides(maximum={"width": 500}))
    request = shaped({"init_images": [b64(png_head(601, 333))]}, ctx, Operation.IMG2IMG)
    assert [request.fields[n] for n in ("width", "height", "resize_mode")] == [496, 328, 1]


def test_bounds_on_texts_unknown_names_and_infinity_do_nothing():
    bounds = {"prompt": 1.0, "nope": 1.0, "steps": float("inf"), "detailer_enabled": 0.0}
    assert bounded({"detailer_enabled": True}, maximum=bounds).adjustments == ()


def test_custom_timesteps_are_steps_too():
    with pytest.raises(InvalidRequest, match="schedulers_timesteps"):
        bounded({"schedulers_timesteps": ",".join(["9"] * 200)})


def test_a_picture_with_too_many_pixels_is_refused_by_its_header():
    with pytest.raises(Exception, match="20000x20000"):
        shaped({"init_images": [PICTURE, b64(png_head(20_000, 20_000))]}, operation=Operation.IMG2IMG)


@pytest.mark.parametrize("name", ["PLMS", "pndm", "PNDM"])
def test_plms_with_three_steps_is_raised_to_the_four_it_needs_and_that_is_told(name):
    request = bounded({"sampler_name": name, "steps": 3})
    assert request.fields["steps"] == 4
    assert "steps=4 (clamped from 3)" in request.adjustments
    assert bounded({"sampler_name": name, "steps": 4}).fields["steps"] == 4
    assert bounded({"sampler_name": "Euler", "steps": 1}).fields["steps"] == 1


def test_each_pass_has_the_steps_that_its_own_sampler_needs():
    hires = {"enable_hr": True, "denoising_strength": 0.5, "detailer_enabled": True, "detailer_steps": 2}
    own = bounded({"sampler_name": "PNDM", "steps": 2, "hr_sampler_name": "Euler", **hires}).fields
    assert (own["steps"], own["hr_second_pass_steps"], own["detailer_steps"]) == (4, 2, 4)
    second = bounded({"sampler_name": "Euler", "steps": 2, "hr_sampler_name": "PLMS", **hires}).fields
    assert (second["steps"], second["hr_second_pass_steps"], second["detailer_steps"]) == (2, 4, 2)


@pytest.mark.parametrize("bounds", [{"caps": Caps(steps=3)}, {"maximum": {"steps": 3}}, {"force": {"steps": 3}}])
def test_a_sampler_that_needs_more_steps_than_are_allowed_gives_way_and_that_is_told(bounds):
    request = bounded({"sampler_name": "PLMS", "steps": 20}, **bounds)
    assert (request.fields["steps"], request.fields["sampler_name"], request.sampler) == (3, "Default", "Default")
    assert "sampler_name=Default (PNDM needs 4 steps)" in request.adjustments


def test_a_second_pass_that_may_have_few_steps_only_keeps_the_first_ones_sampler_out():
    hires = {"enable_hr": True, "denoising_strength": 0.5, "hr_second_pass_steps": 9}
    request = bounded({"sampler_name": "PLMS", "steps": 9, **hires}, maximum={"hr_second_pass_steps": 2})
    assert [request.fields[n] for n in ("steps", "sampler_name", "hr_second_pass_steps", "hr_sampler_name")] == [
        9, "PNDM", 2, "Default",
    ]  # fmt: skip
