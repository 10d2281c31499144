import pytest

from gateway.domain.errors import InvalidRequest
from gateway.domain.jobs import Operation
from gateway.domain.overrides import Overrides
from gateway.domain.parameters.layers import TABLES, canonical, layered
from gateway.domain.parameters.table import Does
from tests.domain.pool import context, raw


def draft(request, ctx, operation=Operation.TXT2IMG):
    return layered(operation, {name: raw(value) for name, value in request.items()}, ctx)


def canonised(fields):
    told = []
    return canonical(fields, told), told


def test_a_sampler_index_with_a_name_is_a_sampler_name_and_a_number_means_nothing():
    assert canonised({"sampler_index": "Euler"})[0] == {"sampler_name": "Euler"}
    assert canonised({"sampler_index": "Euler", "sampler_name": ""})[0] == {"sampler_name": "Euler"}
    assert canonised({"sampler_index": "Euler", "sampler_name": "DDIM"})[0] == {"sampler_name": "DDIM"}
    assert canonised({"sampler_index": 0, "sampler_name": ""})[0] == {}


def test_a_scheduler_is_a_sigma_schedule_unless_one_is_named():
    assert canonised({"scheduler": "Karras"})[0] == {"schedulers_sigma": "Karras"}
    assert canonised({"scheduler": "Karras", "schedulers_sigma": "betas"})[0] == {"schedulers_sigma": "betas"}


def test_settings_that_are_fields_become_fields_unless_the_field_is_there():
    settings = {
        "CLIP_stop_at_last_layers": "2",
        "eta_noise_seed_delta": 31337,
        "sd_model_checkpoint": "x",
        "sd_vae": "v",
    }
    assert canonised({"override_settings": settings, "sd_model_checkpoint": "y"})[0] == {
        "clip_skip": 2,
        "eta_noise_seed_delta": 31337,
        "sd_model_checkpoint": "y",
        "override_settings": {"sd_vae": "v"},
    }


def test_every_other_setting_is_dropped_and_told():
    fields, told = canonised(
        {"override_settings": {"outdir_samples": "/x", "server_rate_limit": 7, "samples_format": "png", "a": None}}
    )
    assert fields == {}
    assert told == ["override_settings.outdir_samples (dropped)", "override_settings.server_rate_limit (dropped)"]


def test_from_bottom_to_top_default_option_request_force():
    layers = {
        "overrides": Overrides(default={"clip_skip": 1, "steps": 1, "seed": 1, "cfg_scale": 1}, force={"cfg_scale": 4}),
        "options": {"CLIP_stop_at_last_layers": 2, "eta_noise_seed_delta": 2, "outdir_samples": "/x"},
    }
    fields = draft({"seed": 3, "cfg_scale": 3, "eta_noise_seed_delta": 3}, context(**layers)).fields
    assert fields == {"clip_skip": 2, "steps": 1, "seed": 3, "cfg_scale": 4, "eta_noise_seed_delta": 3}


def test_objects_are_forced_deep():
    ctx = context(overrides=Overrides(force={"alwayson_scripts": {"a": {"args": [1]}}}))
    fields = draft({"alwayson_scripts": {"a": {"args": [2], "x": 1}, "b": {}}}, ctx).fields
    assert fields["alwayson_scripts"] == {"a": {"args": [1], "x": 1}, "b": {}}


@pytest.mark.parametrize("operation", Operation)
def test_a_dropped_field_can_neither_be_forced_nor_defaulted(operation):
    names = [name for name, row in TABLES[operation].items() if row.does is Does.DROP]
    ctx = context(overrides=Overrides(force=dict.fromkeys(names, 1), default=dict.fromkeys(names, 1)))
    assert draft({}, ctx, operation).fields == {}


def test_the_model_of_an_option_or_a_default_does_not_pass_for_the_requests():
    ctx = context(overrides=Overrides(default={"sd_model_checkpoint": "a"}), options={"sd_model_checkpoint": "b"})
    assert "sd_model_checkpoint" not in draft({}, ctx).fields


@pytest.mark.parametrize("value", ["\ud800", 10**30, {1, 2}, "x" * 200_000])
def test_a_setting_of_a_key_that_could_not_be_sent_is_refused_with_its_name(value):
    with pytest.raises(InvalidRequest, match="Correct it in the key") as caught:
        draft({}, context(overrides=Overrides(default={"prompt": value})))
    assert caught.value.field == "prompt"


def test_txt2img_takes_no_pictures():
    assert "init_images" not in draft({"init_images": ["x"], "mask": "y"}, context()).fields
