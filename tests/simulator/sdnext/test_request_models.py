from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.simulator.sdnext.facts import load_facts
from gateway.simulator.sdnext.request_models import UpscaleImageBody, generation_model

TXT2IMG = generation_model(load_facts(), "txt2img")


def test_nothing_is_required_and_unknown_fields_are_dropped() -> None:
    fields = TXT2IMG(foo=1).model_dump()

    assert (len(fields), fields["width"], fields["sampler_name"], "foo" in fields) == (238, 1024, "Default", False)


def test_numbers_in_strings_are_taken_and_words_are_not() -> None:
    assert TXT2IMG(steps="3").model_dump()["steps"] == 3
    with pytest.raises(ValidationError) as caught:
        TXT2IMG(steps="many")

    assert [error["type"] for error in caught.value.errors()] == ["int_parsing"]


def test_there_are_no_bounds_on_numbers() -> None:
    assert TXT2IMG(steps=10**12, width=-64, cfg_scale=1e9).model_dump()["steps"] == 10**12


def test_img2img_has_its_own_default_strength() -> None:
    defaults = [
        generation_model(load_facts(), kind)().model_dump()["denoising_strength"] for kind in ("txt2img", "img2img")
    ]

    assert defaults == [0.3, 0.5]


def test_the_default_factor_of_an_upscale_is_an_int_and_a_given_one_a_float() -> None:
    given = UpscaleImageBody(image="", upscaling_resize=2)

    assert [repr(body.upscaling_resize) for body in (UpscaleImageBody(image=""), given)] == ["2", "2.0"]
