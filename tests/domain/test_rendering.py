import json

import pytest

from gateway.domain.catalogue import Lora, Sampler, parse_upscalers
from gateway.domain.errors import BackendLacks
from gateway.domain.jobs import Operation
from gateway.domain.parameters import OperatorPolicy
from gateway.domain.rendering import parameters_echo, render, title_on
from tests.domain.pool import GPU, PICTURE, backend, context, models, shaped


def sent(request, to=GPU):
    return json.loads(render(request, to))


def test_each_backend_gets_its_own_exact_names():
    other = backend(
        "gpu-2",
        models=models("tiny-a [0123456789]"),
        samplers=(Sampler("DPM++ 2m", frozenset({"karras"})),),
        upscalers=parse_upscalers([{"name": "latent nearest"}]),
        loras=(Lora("x/inky", "", "inky_v2"),),
        vaes=("Orange.vae.pt",),
        detailers=("Face-YOLO8n",),
    )
    fields = {
        "prompt": "<lora:inky:1>",
        "sampler_name": "DPM++ 2M Karras",
        "enable_hr": True,
        "override_settings": {"sd_vae": "orange.vae"},
        "detailer_models": ["face-yolo8n"],
    }
    request = shaped(fields, context(GPU, other))
    assert request.runnable_on == {"gpu-1", "gpu-2"}
    here, there = sent(request), sent(request, other)
    names = ("sd_model_checkpoint", "prompt", "sampler_name", "hr_upscaler", "override_settings", "detailer_models")
    assert [there[n] for n in names] == [
        "tiny-a [0123456789]",
        "<lora:x/inky:1>",
        "DPM++ 2m",
        "latent nearest",
        {"sd_vae": "Orange.vae.pt"},
        ["Face-YOLO8n"],
    ]
    assert [here[n] for n in names[:3]] == ["Diffusers/tiny-a", "<lora:inky:1>", "DPM++ 2M"]


def test_a_title_that_changed_while_the_job_waited_is_sent_as_it_is_now():
    assert (
        title_on(shaped({}), backend(models=models("Diffusers/tiny-a [0123456789]"))) == "Diffusers/tiny-a [0123456789]"
    )


@pytest.mark.parametrize(
    ("fields", "gone", "kind"),
    [
        ({}, {"models": ()}, "model"),
        ({"sampler_name": "Euler"}, {"samplers": ()}, "samplers"),
        ({"prompt": "<lora:inky:1>"}, {"loras": ()}, "LoRA"),
        ({"enable_hr": True}, {"upscalers": ()}, "upscalers"),
        ({"override_settings": {"sd_vae": "orange.vae"}}, {"vaes": ()}, "vaes"),
    ],
)
def test_what_a_backend_lost_meanwhile_is_never_sent_to_it(fields, gone, kind):
    with pytest.raises(BackendLacks) as caught:
        render(shaped(fields), backend(**gone))
    assert caught.value.kind == kind


def test_pictures_are_spliced_in_as_they_came():
    request = shaped({"init_images": [PICTURE, PICTURE], "mask": PICTURE}, operation=Operation.IMG2IMG)
    body = sent(request)
    assert (body["init_images"], body["mask"]) == ([PICTURE, PICTURE], PICTURE)
    upscale = shaped({"image": PICTURE, "upscaler_1": "Lanczos"}, operation=Operation.UPSCALE)
    assert sent(upscale) == {
        "image": PICTURE,
        "upscaler_1": "Resize Lanczos",
        "upscaling_resize": 2,
        "resize_mode": 0,
        "show_extras_results": False,
    }


def test_an_automatic_vae_and_an_automatic_schedule_are_known_to_the_echo_and_never_sent():
    request = shaped({"scheduler": "Automatic", "override_settings": {"sd_vae": "Automatic"}})
    assert sent(request).keys().isdisjoint({"scheduler", "schedulers_sigma", "override_settings"})
    assert parameters_echo(request)["scheduler"] == "automatic"


def test_the_echo_holds_no_picture_at_any_depth():
    ctx = context(operator=OperatorPolicy(allow_control_units=True, alwayson_scripts={"nudenet": 1.0}))
    fields = {
        "init_images": [PICTURE],
        "control_units": [{"process": "canny edge", "image": PICTURE, "strength": 0.5}],
        "alwayson_scripts": {"nudenet": {"args": [1, "data:image/png;base64," + PICTURE]}},
    }
    request = shaped(fields, ctx, Operation.IMG2IMG)
    echo = parameters_echo(request)
    assert echo["control_units"] == [{"process": "Canny Edge", "strength": 0.5}]
    assert echo["alwayson_scripts"] == {"nudenet": {"args": [1]}}
    assert sent(request)["control_units"][0]["image"] == PICTURE
