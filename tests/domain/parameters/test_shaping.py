import json
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.domain.catalogue import Lora
from gateway.domain.errors import CallerError, Forbidden, InvalidRequest, NeverRunnable, NotGranted
from gateway.domain.jobs import Operation
from gateway.domain.keys import Grants, Names
from gateway.domain.overrides import Overrides
from gateway.domain.parameters import OperatorPolicy, shape
from gateway.domain.parameters.generation_rows import GENERATION
from gateway.domain.parameters.layers import TABLES
from gateway.domain.parameters.table import Does
from gateway.domain.plans import Caps
from gateway.domain.rendering import parameters_echo, render
from tests.domain.pool import CONTEXT, GPU, PICTURE, b64, backend, context, models, png_head, shaped

EVERYTHING_ALLOWED = context(
    operator=OperatorPolicy(
        default_model="tiny-a",
        scripts={"XYZ Grid": 4.0},
        alwayson_scripts={"nudenet": 1.0},
        allow_control_units=True,
        allow_ip_adapter=True,
        allow_face=True,
        allow_styles=True,
        caption_models=("ViT-L-14/openai", "wd-tagger"),
    )
)


def test_a_request_goes_to_a_backend_with_its_own_title_and_nothing_unknown():
    request = shaped({"steps": "25", "width": 513.0, "height": 512, "extra": {"a": 1}, "bogus": 1})
    assert json.loads(render(request, GPU)) == {
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
    assert request.adjustments == ("extra (dropped)", "bogus (dropped)", "width=512 (rounded down from 513)")


def test_a_job_can_run_where_its_model_sampler_schedule_and_loras_all_are():
    without_lora = backend("gpu-2", loras=())
    without_model = backend("gpu-3", models=models("Diffusers/tiny-b"))
    fusing = backend("gpu-4", lora_is_safe=False)
    plain = backend("gpu-5", samplers=())
    ctx = context(GPU, without_lora, without_model, fusing, plain)
    assert shaped({}, ctx).runnable_on == {"gpu-1", "gpu-2", "gpu-4", "gpu-5"}
    assert shaped({"prompt": "<lora:inky:1>"}, ctx).runnable_on == {"gpu-1", "gpu-5"}
    assert shaped({"sampler_name": "DPM++ 2M Karras"}, ctx).runnable_on == {"gpu-1", "gpu-2", "gpu-4"}


def test_a_job_that_no_backend_could_ever_run_is_refused_with_the_reason():
    ctx = context(backend("gpu-1", loras=()), backend("gpu-2", models=models("other")))
    with pytest.raises(NeverRunnable, match='LoRA "inky" together with the model "tiny-a"') as caught:
        shaped({"prompt": "<lora:inky:1>"}, ctx)
    assert caught.value.field == "prompt"


def test_a_prompt_with_an_embeddings_name_goes_where_the_embedding_is():
    ctx = context(
        backend("gpu-1"), backend("gpu-2", embeddings=("EasyNegative",)), backend("gpu-3", models=models("other"))
    )
    assert shaped({"negative_prompt": "(easynegative:1.2), bad"}, ctx).runnable_on == {"gpu-2"}
    assert shaped({"negative_prompt": "bad"}, ctx).runnable_on == {"gpu-1", "gpu-2"}
    assert shaped({"prompt": "easynegative", "sd_model_checkpoint": "other"}, ctx).runnable_on == {"gpu-3"}


def test_a_sampler_that_only_other_backends_have_is_named_with_its_field():
    ctx = context(backend("gpu-1", samplers=()), backend("gpu-2", models=models("other")))
    with pytest.raises(NeverRunnable, match='sampler "Euler a" together') as caught:
        shaped({"sampler_name": "Euler a"}, ctx)
    assert caught.value.field == "sampler_name"


def test_a_lora_is_refused_where_every_backend_would_damage_the_checkpoint():
    with pytest.raises(NeverRunnable, match="LoRAs safely"):
        shaped({"prompt": "<lora:inky:1>"}, context(backend(lora_is_safe=False)))


def test_the_price_counts_every_picture_and_every_pass():
    request = shaped({"steps": 10, "width": 1000, "height": 1000, "batch_size": 2, "n_iter": 3})
    assert request.price.images == 6
    assert request.price.megapixel_steps == pytest.approx(60.0)
    assert request.price.answer_bytes == 6 * 1_000_000 * 4
    assert request.expected == (1000, 1000)


def test_a_script_multiplies_the_price_by_the_operators_factor():
    plain = shaped({}, EVERYTHING_ALLOWED).price.megapixel_steps
    assert shaped({"script_name": "xyz grid"}, EVERYTHING_ALLOWED).price.megapixel_steps == pytest.approx(4 * plain)


def test_the_callers_task_id_is_kept_apart_and_never_sent():
    request = shaped({"force_task_id": "task(1)"})
    assert request.task_id == "task(1)"
    assert b"force_task_id" not in render(request, GPU)


# --- what a key's overrides do -----------------------------------------------------------------


def test_a_forced_value_wins_over_the_request_and_is_told():
    request = shaped({"steps": 50}, context(overrides=Overrides(force={"steps": 25})))
    assert request.fields["steps"] == 25
    assert request.adjustments == ("steps=25 (forced)",)


def test_a_forced_value_the_request_already_has_is_not_told():
    assert shaped({"steps": 25}, context(overrides=Overrides(force={"steps": 25}))).adjustments == ()


@pytest.mark.parametrize(
    "request_fields",
    [{"sampler_index": "UniPC"}, {"sampler_name": "UniPC"}, {"sampler_name": "UniPC Karras", "scheduler": "karras"}],
)
def test_a_forced_sampler_wins_whatever_name_the_caller_used(request_fields):
    request = shaped(request_fields, context(overrides=Overrides(force={"sampler_index": "Euler a"})))
    assert request.fields["sampler_name"] == "Euler a"


def test_a_forced_model_wins_over_one_at_top_level_and_in_override_settings():
    ctx = context(overrides=Overrides(force={"override_settings": {"sd_model_checkpoint": "tiny-b"}}))
    assert shaped({"override_settings": {"sd_model_checkpoint": "tiny-a"}}, ctx).model.name == "tiny-b"


def test_a_forced_schedule_wins_over_the_one_in_the_samplers_name():
    ctx = context(overrides=Overrides(force={"scheduler": "exponential"}))
    assert shaped({"sampler_name": "DPM++ 2M Karras"}, ctx).fields["schedulers_sigma"] == "exponential"


def test_a_forced_model_must_be_granted():
    ctx = context(
        overrides=Overrides(force={"sd_model_checkpoint": "tiny-b"}), grants=Grants(models=Names(("tiny-a",)))
    )
    with pytest.raises(NotGranted):
        shaped({}, ctx)


def test_a_forced_number_is_capped_like_any_other():
    request = shaped({}, context(overrides=Overrides(force={"steps": 500}), caps=Caps(steps=100)))
    assert request.fields["steps"] == 100
    assert request.adjustments == ("steps=100 (forced)",)


def test_a_default_lies_under_the_request():
    ctx = context(overrides=Overrides(default={"steps": 30, "cfg_scale": 9}))
    assert {k: shaped({"steps": 5}, ctx).fields[k] for k in ("steps", "cfg_scale")} == {"steps": 5, "cfg_scale": 9}


def test_a_forbidden_field_is_removed_and_told():
    request = shaped({"negative_prompt": "bad"}, context(overrides=Overrides(forbid=frozenset({"negative_prompt"}))))
    assert "negative_prompt" not in request.fields
    assert request.adjustments == ("negative_prompt (forbidden)",)


def test_an_override_of_a_field_no_endpoint_knows_does_nothing():
    ctx = context(overrides=Overrides(force={"extra": {"outpath_samples": "x"}, "bogus": 1, "save_images": True}))
    assert json.loads(render(shaped({}, ctx), GPU)) == json.loads(render(shaped({}), GPU))


def test_the_keys_posted_options_lie_between_its_defaults_and_the_request():
    ctx = context(
        overrides=Overrides(default={"clip_skip": 3}), options={"CLIP_stop_at_last_layers": 2, "sd_vae": "orange.vae"}
    )
    request = shaped({}, ctx)
    assert request.fields["clip_skip"] == 2
    assert request.fields["override_settings"] == {"sd_vae": "orange.vae.pt"}
    assert shaped({"clip_skip": 1}, ctx).fields["clip_skip"] == 1


def test_a_key_setting_of_the_wrong_type_says_that_the_key_is_to_be_corrected():
    with pytest.raises(InvalidRequest, match="Correct it in the key"):
        shaped({}, context(overrides=Overrides(force={"steps": "many"})))


# --- properties --------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
HOSTILE = st.sampled_from(
    [
        *(
            "",
            " ",
            "None",
            "null",
            "-1",
            "1e400",
            "NaN",
            "9" * 400,
            "https://x.y/z",
            "/etc/passwd",
            "upload:1",
            "\ud83d\ude00",
        ),
        *(
            "<lora:inky:1>",
            "<lora:nope:1>",
            "<a:b>",
            "<lo<a:b>ra:inky>",
            "tiny-b",
            "DPM++ 2M Karras",
            "Latent",
            "../x",
            "a/b",
        ),
        *(
            0,
            -1,
            1,
            2**31,
            2**63,
            2**64,
            10**400,
            -(2**70),
            0.1,
            1e308,
            True,
            False,
            [],
            {},
            [[]],
            {"args": [1]},
            [None],
        ),
        *(
            PICTURE,
            [PICTURE],
            b64(png_head(2**31, 2**31)),
            [{"image": PICTURE}],
            {"nudenet": {"args": [10**30, "<x:y>"]}},
        ),
    ]
)
TABLED = {*GENERATION, *TABLES[Operation.UPSCALE], *TABLES[Operation.CAPTION]}
FIELD_NAMES = st.sampled_from(sorted({*TABLED, "bogus", "a b", "ä", 'q"'}))
BODIES = st.dictionaries(FIELD_NAMES, HOSTILE | JSON, max_size=8)
USUAL = {
    Operation.TXT2IMG: {"prompt": "a"},
    Operation.IMG2IMG: {"prompt": "a", "init_images": [PICTURE]},
    Operation.UPSCALE: {"image": PICTURE, "upscaler_1": "Resize Lanczos"},
    Operation.CAPTION: {"image": PICTURE},
}


def json_bytes(value):
    return json.dumps(value).encode()


@settings(deadline=None)
@given(st.sampled_from(Operation), BODIES, st.booleans())
def test_no_field_values_whatever_raise_anything_but_a_callers_error(operation, fields, complete):
    fields = (USUAL[operation] if complete else {}) | fields
    try:
        request = shape(operation, json_bytes(fields), EVERYTHING_ALLOWED)
    except CallerError:
        return
    sent = json.loads(render(request, GPU))
    known = {name for name, row in TABLES[operation].items() if row.does is not Does.DROP} - {
        "scheduler",
        "sampler_index",
    }
    constants = {"send_images", "save_images", "override_settings_restore_afterwards", "show_extras_results"}
    assert sent.keys() <= known | constants
    assert sent.get("send_images", True) is True
    assert sent.get("save_images", False) is False
    assert all(text.isascii() and text.isprintable() and "," not in text for text in request.adjustments)


@settings(deadline=None)
@given(st.sampled_from(Operation), st.binary(max_size=200))
@example(Operation.TXT2IMG, b'{"prompt":' + b"[" * 100_000)
@example(Operation.TXT2IMG, b'{"prompt":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001)
@example(Operation.TXT2IMG, b'{"prompt":"","steps":' + b"1" * 5_000 + b"}")
@example(Operation.TXT2IMG, b'{"prompt":"\\ud800"}')
@example(Operation.TXT2IMG, b'{"prompt":"\xff"}')
@example(Operation.TXT2IMG, b'{"\xff":"a"}')
@example(Operation.TXT2IMG, b'""')
@example(Operation.TXT2IMG, b"null")
def test_no_bytes_whatever_raise_anything_but_a_callers_error(operation, body):
    with pytest.raises(CallerError):
        shape(operation, body, CONTEXT)


@settings(deadline=None)
@given(st.sampled_from(Operation), BODIES, BODIES, BODIES)
def test_no_setting_of_a_key_whatever_raises_anything_but_a_callers_error(operation, force, default, options):
    ctx = context(
        overrides=Overrides(force=force, default=default), options=options, operator=EVERYTHING_ALLOWED.operator
    )
    try:
        request = shape(operation, json_bytes(USUAL[operation]), ctx)
    except CallerError:
        return
    assert json.loads(render(request, GPU)).get("save_images", False) is False


FINE = st.fixed_dictionaries(
    {},
    optional={
        "steps": st.integers(1, 300) | st.integers(1, 300).map(str) | st.integers(1, 300).map(float),
        "width": st.integers(64, 6000),
        "height": st.integers(64, 6000),
        "seed": st.integers(-1, 2**32 - 1),
        "batch_size": st.integers(1, 20),
        "n_iter": st.integers(1, 20),
        "cfg_scale": st.floats(0, 100, allow_subnormal=False),
        "sampler_name": st.sampled_from(
            ["Euler", "dpm++ 2m karras", "DPM2 a", "k_euler_a", "LMS", "", "DPM++ 2M SGM Uniform"]
        ),
        "sampler_index": st.sampled_from([0, "PLMS", "Euler a"]),
        "scheduler": st.sampled_from(["Karras", "automatic", "Simple", "beta", "exponential", "nonsense"]),
        "hr_sampler_name": st.sampled_from(["Euler", "nope", "Use same sampler"]),
        "enable_hr": st.booleans(),
        "hr_scale": st.floats(0, 20, allow_subnormal=False),
        "hr_resize_x": st.integers(0, 9000),
        "hr_resize_y": st.integers(0, 9000),
        "hr_upscaler": st.sampled_from(["Latent", "R-ESRGAN 4x+", "None", "lanczos"]),
        "hr_second_pass_steps": st.integers(0, 300),
        "denoising_strength": st.floats(0, 1, allow_subnormal=False),
        "resize_mode": st.integers(0, 4),
        "resize_name": st.sampled_from(["None", "Lanczos", "esrgan 4x gan"]),
        "scale_by": st.floats(0.1, 9),
        "selected_scale_tab": st.integers(0, 1),
        "prompt": st.sampled_from(
            ["", "a < b", "<LORA:Ink Wash:0.5:0.6> x", "<lora:gold:1><hypernet:q:1>", "<lo<a:b>ra:gold:1>"]
        ),
        "override_settings": st.just({"CLIP_stop_at_last_layers": 2, "sd_vae": "orange.vae", "x": 1}),
        "script_name": st.sampled_from(["", "None", "XYZ GRID"]),
        "script_args": st.just([1, "<lora:inky:1>"]),
        "detailer_enabled": st.booleans(),
        "detailer_models": st.just(["Face-Yolo8n"]),
        "styles": st.just(["film"]),
        "save_images": st.booleans(),
        "bogus": st.just(1),
    },
)
FORCED = st.fixed_dictionaries(
    {},
    optional={
        "steps": st.integers(1, 300),
        "width": st.integers(64, 5000),
        "sampler_name": st.sampled_from(["DPM++ 2M Karras", "Euler a"]),
        "scheduler": st.sampled_from(["exponential", "simple"]),
        "sd_model_checkpoint": st.sampled_from(["Diffusers/tiny-b", "tiny-b"]),
        "enable_hr": st.booleans(),
        "denoising_strength": st.floats(0, 1, allow_subnormal=False),
        "override_settings": st.just({"CLIP_stop_at_last_layers": 3}),
        "negative_prompt": st.just("ugly <lora:gold:0.2>"),
    },
)
BOUNDS = st.fixed_dictionaries(
    {},
    optional={
        "steps": st.floats(1, 400),
        "width": st.floats(1, 5000),
        "cfg_scale": st.floats(1, 30),
        "batch_size": st.floats(1, 9),
    },
)
OVERRIDES = st.builds(
    Overrides,
    force=FORCED,
    default=FORCED,
    forbid=st.frozensets(st.sampled_from(["seed", "negative_prompt", "hr_scale"])),
    minimum=BOUNDS,
    maximum=BOUNDS,
)
SIZES = st.tuples(st.integers(64, 3000), st.integers(64, 3000))


def shaped_by(operation, fields, size, overrides):
    ctx = context(overrides=overrides, operator=EVERYTHING_ALLOWED.operator)
    body = {"prompt": "a", "sd_model_checkpoint": "tiny-a"} | fields
    if operation is Operation.IMG2IMG:
        body["init_images"] = [b64(png_head(*size))]
    return shape(operation, json_bytes(body), ctx)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from([Operation.TXT2IMG, Operation.IMG2IMG]), FINE, SIZES, OVERRIDES)
def test_shaping_what_was_shaped_changes_nothing_and_tells_nothing(operation, fields, size, overrides):
    first = shaped_by(operation, fields, size, overrides)
    second = shaped_by(operation, parameters_echo(first), size, overrides)
    assert parameters_echo(second) == parameters_echo(first)
    assert second.adjustments == ()
    assert (second.price, second.expected, second.runnable_on) == (first.price, first.expected, first.runnable_on)


@settings(deadline=None)
@given(st.sampled_from([Operation.TXT2IMG, Operation.IMG2IMG]), FINE, SIZES, OVERRIDES)
def test_no_request_and_no_override_passes_the_plans_caps(operation, fields, size, overrides):
    request = shaped_by(operation, fields, size, overrides)
    caps, sent = CONTEXT.caps, request.fields
    assert math.prod(request.expected) <= caps.generated_pixels
    assert sent["batch_size"] * sent["n_iter"] <= caps.images_per_call
    assert max(sent["steps"], sent.get("hr_second_pass_steps", 0)) <= caps.steps
    assert all(
        sent[name] <= math.floor(bound) for name, bound in overrides.maximum.items() if name in ("steps", "batch_size")
    )
    assert sent.get("hr_scale", 0) <= caps.resize_factor


@settings(deadline=None)
@given(st.sampled_from([Operation.TXT2IMG, Operation.IMG2IMG]), FINE, SIZES, OVERRIDES)
def test_a_forced_value_always_wins(operation, fields, size, overrides):
    forced_only = shaped_by(operation, {}, size, Overrides(force=overrides.force)).fields
    request = shaped_by(operation, fields, size, Overrides(force=overrides.force)).fields
    for name in ("steps", "sampler_name", "sd_model_checkpoint", "negative_prompt", "clip_skip"):
        if name in overrides.force or (name == "clip_skip" and "override_settings" in overrides.force):
            assert request[name] == forced_only[name]


NAMES = st.sampled_from(
    ["tiny-a", "tiny-b", "Diffusers/tiny-a", "TINY-B", "inky", "gold", "styles/gold", "Ink Wash", "*", "tiny*"]
)
GLOBS = st.builds(Names, allow=st.lists(NAMES, max_size=2).map(tuple), deny=st.lists(NAMES, max_size=2).map(tuple))


@settings(deadline=None)
@given(st.builds(Grants, models=GLOBS, loras=GLOBS, upscalers=GLOBS), NAMES, NAMES, OVERRIDES)
def test_nothing_that_is_not_granted_is_ever_used(grants, model, lora, overrides):
    ctx = context(grants=grants, overrides=overrides, operator=OperatorPolicy(default_model="tiny-b"))
    try:
        request = shape(
            Operation.TXT2IMG,
            json_bytes({"prompt": f"<lora:{lora}:1>", "sd_model_checkpoint": model, "enable_hr": True}),
            ctx,
        )
    except CallerError:
        return
    assert request.model.name in grants.models
    assert all(used.name in grants.loras for used in request.requirements.loras)
    assert "hr_upscaler" not in request.fields or request.fields["hr_upscaler"] in grants.upscalers


def test_a_key_without_any_image_model_may_not_upscale():
    ctx = context(grants=Grants(models=Names(())))
    with pytest.raises(Forbidden, match="no image model"):
        shaped({"image": PICTURE, "upscaler_1": "Resize Lanczos"}, ctx, Operation.UPSCALE)


def test_a_lora_of_another_folder_is_found_by_its_file_name():
    assert shaped({"prompt": "<lora:gold:0.7>"}).requirements.loras == (Lora("styles/gold", "", "gold"),)
