import pytest

from gateway.domain.catalogue import Departed, merge
from gateway.domain.errors import InvalidRequest, NeverRunnable, SamplerNotFound, UnknownModel
from gateway.domain.jobs import Operation
from gateway.domain.keys import Grants, Names
from gateway.domain.overrides import Overrides
from gateway.domain.parameters import OperatorPolicy, ShapingContext, shape
from tests.domain.pool import CONTEXT, PICTURE, backend, context, models, shaped

POOL_DEFAULT = OperatorPolicy(default_model="tiny-b")


def model_of(ctx, **fields):
    return shaped({"sd_model_checkpoint": None} | fields, ctx).model.name


# --- prompt and defaults ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b'{"sd_model_checkpoint":"tiny-a"}', b'{"prompt":null,"sd_model_checkpoint":"tiny-a"}']
)
def test_the_missing_prompt_is_named(body):
    with pytest.raises(InvalidRequest, match="prompt is missing") as caught:
        shape(Operation.TXT2IMG, body, CONTEXT)
    assert caught.value.field == "prompt"


def test_an_empty_prompt_is_a_prompt_and_a_key_may_force_one():
    assert shaped({"prompt": ""}).fields["prompt"] == ""
    ctx = context(overrides=Overrides(force={"prompt": "a dog"}))
    assert shape(Operation.TXT2IMG, b'{"sd_model_checkpoint":"tiny-a"}', ctx).fields["prompt"] == "a dog"


def test_what_the_price_depends_on_is_filled():
    fields = shaped({}).fields
    assert {
        n: fields[n] for n in ("width", "height", "steps", "cfg_scale", "sampler_name", "seed", "batch_size", "n_iter")
    } == {
        "width": 1024,
        "height": 1024,
        "steps": 20,
        "cfg_scale": 6,
        "sampler_name": "Default",
        "seed": -1,
        "batch_size": 1,
        "n_iter": 1,
    }


@pytest.mark.parametrize("seed", [-2, 2**53, 2**63])
def test_a_seed_that_no_client_can_have_meant_is_refused_with_its_bounds_in_full(seed):
    with pytest.raises(InvalidRequest, match="seed must be between -1 and 9007199254740991") as caught:
        shaped({"seed": seed})
    assert caught.value.field == "seed"


@pytest.mark.parametrize("seed", [2**32, 1_099_511_627_776, 2**53 - 1])
def test_a_seed_above_32_bits_as_front_ends_draw_them_goes_on_as_it_is(seed):
    made = shaped({"seed": seed})
    assert (made.fields["seed"], made.adjustments) == (seed, ())


def test_a_fraction_where_a_whole_number_belongs_is_cut_off_and_told():
    made = shaped({"width": 170.67, "steps": "12.5", "seed": 1.5})
    assert (made.fields["width"], made.fields["steps"], made.fields["seed"]) == (168, 12, 1)
    assert made.adjustments == (
        "width=170 (cut off from 170.67)",
        "steps=12 (cut off from 12.5)",
        "seed=1 (cut off from 1.5)",
        "width=168 (rounded down from 170)",
    )


def test_sizes_that_are_rounded_are_told():
    made = shaped({"width": 300, "height": 301})
    assert (made.fields["width"], made.fields["height"]) == (296, 296)
    assert made.adjustments == ("width=296 (rounded down from 300)", "height=296 (rounded down from 301)")


def test_an_empty_list_where_an_object_belongs_is_nothing():
    made = shaped({"alwayson_scripts": [], "override_settings": []})
    assert (made.fields.keys() & {"alwayson_scripts", "override_settings"}, made.adjustments) == (set(), ())


def test_an_id_that_is_a_number_is_an_id():
    assert shaped({"force_task_id": 17}).task_id == "17"


@pytest.mark.parametrize(
    "script",
    [
        {"ADetailer": {"args": [False, False, {"ad_model": "None"}]}},
        {"ControlNet": {"args": [{"enabled": False, "module": "canny"}, {"enabled": False}]}},
        {"Some Script": {"args": {"enabled": False, "strength": 1}}},
    ],
)
def test_scripts_whose_units_are_all_switched_off_are_dropped_and_told(script):
    (name,) = script
    made = shaped({"alwayson_scripts": script})
    assert "alwayson_scripts" not in made.fields
    assert made.adjustments == (f"alwayson_scripts.{name} (dropped: switched off)",)


@pytest.mark.parametrize(
    "arguments",
    [
        [{"enabled": False}, {"enabled": True}],
        [True, False, {"ad_model": "face"}],
        [False, 7, "x"],
        [0.5, {"enabled": False}],
        [False],
        {"strength": 1},
    ],
)
def test_a_script_that_may_do_something_is_asked_for(arguments):
    with pytest.raises(InvalidRequest, match="ControlNet"):
        shaped({"alwayson_scripts": {"ControlNet": {"args": arguments}}})


def test_a_wildcard_in_a_prompt_reads_no_file_of_a_server_and_is_told():
    made = shaped({"prompt": "a __colours__ dress", "refiner_prompt": "__a__ <lora:inky:1>"})
    assert made.fields["prompt"] == "a _colours_ dress"
    assert made.fields["refiner_prompt"] == "_a_ <lora:inky:1>"
    assert "__...__ (no wildcards here)" in made.adjustments


# --- samplers -----------------------------------------------------------------------------------------


def test_an_unknown_sampler_is_refused_with_the_sentence_clients_compare():
    with pytest.raises(SamplerNotFound, match=r"^Sampler not found$"):
        shaped({"sampler_name": "nope"})


@pytest.mark.parametrize(
    ("fields", "sampler", "schedule", "told"),
    [
        (
            {"sampler_name": "DPM++ 2M Karras"},
            "DPM++ 2M",
            "karras",
            "sampler_name=DPM++ 2M (resolved from DPM++ 2M Karras)",
        ),
        ({"sampler_name": "DPM++ 2M", "scheduler": "Beta"}, "DPM++ 2M", "betas", None),
        ({"sampler_name": "DPM++ 2M", "scheduler": "automatic"}, "DPM++ 2M", None, None),
        ({"sampler_name": "DPM++ 2M Karras", "scheduler": "automatic"}, "DPM++ 2M", "karras", None),
        ({"sampler_name": "Euler a", "scheduler": "Karras"}, "Euler a", None, "scheduler Karras (dropped)"),
        ({"sampler_name": "DPM++ 2M", "scheduler": "KL Optimal"}, "DPM++ 2M", None, "scheduler KL Optimal (dropped)"),
        ({"sampler_index": "Euler a"}, "Euler a", None, None),
        ({"sampler_index": 3}, "Default", None, None),
        ({"sampler_name": "", "sampler_index": "PLMS"}, "PNDM", None, "sampler_name=PNDM (resolved from PLMS)"),
        ({"schedulers_sigma": "Exponential", "sampler_name": "Euler"}, "Euler", "exponential", None),
    ],
)
def test_a_sampler_and_its_schedule_go_as_sdnext_takes_them(fields, sampler, schedule, told):
    request = shaped(fields)
    assert (request.fields["sampler_name"], request.fields.get("schedulers_sigma"), request.sampler) == (
        sampler,
        schedule,
        sampler,
    )
    if told is not None:
        assert told in request.adjustments


def test_an_unknown_hires_sampler_is_dropped_and_told():
    request = shaped({"enable_hr": True, "hr_sampler_name": "nope"})
    assert "hr_sampler_name" not in request.fields
    assert "hr_sampler_name (dropped)" in request.adjustments


def test_a_hires_sampler_is_resolved_and_the_same_as_primary_is_nothing():
    assert shaped({"enable_hr": True, "hr_sampler_name": "LMS Karras"}).fields["hr_sampler_name"] == "LMSD"
    assert "hr_sampler_name" not in shaped({"enable_hr": True, "hr_sampler_name": "Use same sampler"}).fields


# --- which checkpoint ----------------------------------------------------------------------------------


def test_a_checkpoint_is_required_when_nothing_names_one():
    with pytest.raises(UnknownModel, match="sd_model_checkpoint is required"):
        model_of(context())


def test_the_request_wins_over_its_settings_the_option_the_key_and_the_pool():
    ctx = context(options={"sd_model_checkpoint": "tiny-b"}, default_model="tiny-b", operator=POOL_DEFAULT)
    assert model_of(ctx, sd_model_checkpoint="tiny-a", override_settings={"sd_model_checkpoint": "tiny-b"}) == "tiny-a"
    assert model_of(ctx, override_settings={"sd_model_checkpoint": "tiny-a"}) == "tiny-a"


def test_without_one_in_the_request_it_is_the_option_then_the_key_then_the_pool():
    assert (
        model_of(context(options={"sd_model_checkpoint": "tiny-a"}, default_model="tiny-b", operator=POOL_DEFAULT))
        == "tiny-a"
    )
    assert model_of(context(default_model="tiny-a", operator=POOL_DEFAULT)) == "tiny-a"
    assert model_of(context(operator=POOL_DEFAULT)) == "tiny-b"
    assert (
        model_of(context(overrides=Overrides(default={"sd_model_checkpoint": "tiny-a"}), operator=POOL_DEFAULT))
        == "tiny-a"
    )


@pytest.mark.parametrize("nothing", ["", "None", "none"])
def test_no_name_is_no_name(nothing):
    assert model_of(context(operator=POOL_DEFAULT), sd_model_checkpoint=nothing) == "tiny-b"


def test_the_only_granted_checkpoint_needs_no_name():
    assert model_of(context(grants=Grants(models=Names(("tiny-b",))))) == "tiny-b"


def test_a_stored_option_whose_checkpoint_is_gone_is_never_replaced_in_silence():
    with pytest.raises(UnknownModel, match='stored option, "gone", cannot be used'):
        model_of(context(options={"sd_model_checkpoint": "gone"}, operator=POOL_DEFAULT))


def test_a_checkpoint_named_in_another_way_is_told():
    assert shaped({"sd_model_checkpoint": "Diffusers/tiny-a"}).adjustments == (
        "sd_model_checkpoint=tiny-a (resolved from Diffusers/tiny-a)",
    )


# --- other names -----------------------------------------------------------------------------------------


def test_a_vae_is_found_without_its_extension_and_an_unknown_one_is_dropped_and_told():
    assert shaped({"override_settings": {"sd_vae": "Orange.vae"}}).fields["override_settings"] == {
        "sd_vae": "orange.vae.pt"
    }
    unknown = shaped({"override_settings": {"sd_vae": "nope"}})
    assert "override_settings" not in unknown.fields
    assert unknown.adjustments == ("sd_vae (dropped: unknown)",)


def test_detailers_come_from_the_catalogue_only():
    assert shaped({"detailer_models": ["Face-YOLO8n"]}).fields["detailer_models"] == ["face-yolo8n"]
    with pytest.raises(InvalidRequest, match="detailer_models"):
        shaped({"detailer_models": ["https://example.com/x.pt"]})
    with pytest.raises(InvalidRequest, match="detailer_models"):
        shaped({"detailer_models": [7]})


def test_styles_pass_only_where_the_operator_enables_them():
    allowed = context(operator=OperatorPolicy(allow_styles=True))
    assert shaped({"styles": ["film"]}, allowed).fields["styles"] == ["Film"]
    for request in (shaped({"styles": ["film"]}), shaped({"styles": ["film", "nope"]}, allowed)):
        assert "styles" not in request.fields
        assert request.adjustments == ("styles (dropped)",)
    assert shaped({"styles": []}).adjustments == ()


@pytest.mark.parametrize(
    "field", ["prompt", "negative_prompt", "refiner_prompt", "detailer_prompt", "detailer_negative"]
)
def test_tags_are_resolved_in_every_prompt_field(field):
    request = shaped({field: "<lora:Ink Wash:0.5><hypernet:x:1>"})
    assert request.fields[field] == "<lora:inky:0.5>"
    assert request.uses_lora
    assert request.adjustments == ("<hypernet:...> (dropped)",)


def test_a_checkpoint_whose_file_is_gone_everywhere_is_refused_at_once_and_named():
    gone = Departed("gpu-1", models("lost")[0], 100.0)
    with pytest.raises(NeverRunnable, match='The file of the model "lost" is gone') as caught:
        shaped({"sd_model_checkpoint": "lost"}, ShapingContext(merge([backend()], [gone], now=200.0)))
    assert caught.value.field == "sd_model_checkpoint"


def test_a_checkpoint_whose_file_is_gone_on_one_of_two_backends_runs_on_the_other():
    gone = Departed("gpu-1", models("lost")[0], 100.0)
    other = backend("gpu-2", models=models("lost"))
    ctx = ShapingContext(merge([backend("gpu-1"), other], [gone], now=200.0))
    assert shaped({"sd_model_checkpoint": "lost"}, ctx).runnable_on == {"gpu-2"}


def test_face_restoration_that_sdnext_cannot_do_is_told():
    assert shaped({"restore_faces": True}).adjustments == ("restore_faces (dropped)",)
    assert shaped({"restore_faces": False}).adjustments == ()


def test_a_picture_in_a_txt2img_request_is_dropped():
    request = shaped({"init_images": [PICTURE]})
    assert "init_images" not in request.fields
    assert request.adjustments == ("init_images (dropped)",)
