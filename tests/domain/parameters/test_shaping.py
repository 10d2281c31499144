import json

import pytest

from gateway.domain.catalogue import BackendInventory, Lora, Sampler, merge, parse_models, parse_upscalers
from gateway.domain.errors import InvalidRequest, SamplerNotFound, UnknownModel
from gateway.domain.jobs import Operation
from gateway.domain.parameters import ShapingContext, shape
from gateway.domain.rendering import render

_ALL = frozenset({"karras", "betas", "exponential"})
BACKEND = BackendInventory(
    "gpu-1",
    models=parse_models([{"title": "Diffusers/tiny-a"}, {"title": "Diffusers/tiny-b"}]),
    samplers=(Sampler("Euler"), Sampler("Euler a"), Sampler("DPM++ 2M", _ALL)),
    upscalers=parse_upscalers([{"name": "None"}, {"name": "Latent Nearest"}]),
    loras=(Lora("inky"),),
)
CONTEXT = ShapingContext(merge([BACKEND]))


def shaped(**fields):
    return shape(Operation.TXT2IMG, json.dumps(fields).encode(), CONTEXT)


def test_a_request_goes_to_a_backend_with_its_own_title_and_nothing_unknown():
    request = shaped(prompt="a cat", sd_model_checkpoint="tiny-a", steps="25", width=513.0, height=512, extra={"a": 1})
    assert json.loads(render(request, BACKEND)) == {
        "prompt": "a cat",
        "sd_model_checkpoint": "Diffusers/tiny-a",
        "steps": 25,
        "width": 512,
        "height": 512,
        "cfg_scale": 6,
        "batch_size": 1,
        "n_iter": 1,
        "seed": -1,
        "sampler_name": "Default",
        "send_images": True,
        "save_images": False,
        "override_settings_restore_afterwards": True,
    }
    assert request.adjustments == ("extra (dropped)",)


def test_the_missing_prompt_is_named():
    with pytest.raises(InvalidRequest) as caught:
        shaped(sd_model_checkpoint="tiny-a")
    assert caught.value.field == "prompt"


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownModel, match='Did you mean "tiny-a"'):
        shaped(prompt="", sd_model_checkpoint="tiny-aa")


def test_an_unknown_sampler_is_refused_with_the_sentence_clients_compare():
    with pytest.raises(SamplerNotFound, match=r"^Sampler not found$"):
        shaped(prompt="", sd_model_checkpoint="tiny-a", sampler_name="nope")


def test_a_combined_sampler_name_becomes_a_sampler_and_a_schedule():
    request = shaped(prompt="", sd_model_checkpoint="tiny-a", sampler_name="DPM++ 2M Karras")
    assert (request.fields["sampler_name"], request.fields["schedulers_sigma"]) == ("DPM++ 2M", "karras")
