"""What becomes of posted options."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.options import SHOWN, TUNABLE, Posted, effective, reported, shown, sorted_out

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
POSTED = st.dictionaries(st.sampled_from([*SHOWN, "sd_model_checkpoint", "mine", "outdir_samples"]) | st.text(), JSON)


def test_the_values_of_an_unconfigured_server_are_forgotten_not_kept():
    assert sorted_out(shown({})) == Posted(forgotten=frozenset(SHOWN))


def test_a_known_option_is_kept_in_its_own_type_and_bounds_or_ignored():
    posted = {"CLIP_stop_at_last_layers": 2, "clip_skip": "2", "eta_noise_seed_delta": 1.5, "send_seed": 0}
    assert sorted_out(posted) == Posted(
        kept={"CLIP_stop_at_last_layers": 2}, ignored=frozenset({"clip_skip", "eta_noise_seed_delta", "send_seed"})
    )
    assert sorted_out({"CLIP_stop_at_last_layers": 10_000}).kept == {}


@pytest.mark.parametrize(
    "name",
    [
        "outdir_samples", "ckpt_dir", "huggingface_token", "openai_api_key", "civitai_secret", "server_password",
        "cmd_args", "proxy_url", "google_project_id", "forge_preset", "custom_scripts", "save_log_fn", "a b", "",
    ],
)  # fmt: skip
def test_what_may_name_a_place_or_a_secret_is_never_remembered(name):
    assert sorted_out({name: "x"}) == Posted(ignored=frozenset({name}))


@pytest.mark.parametrize(
    "value", [None, [], {}, math.inf, math.nan, "x" * 1001, "a\nb", 2**60, "/etc/passwd", "../x", "C:\\x", "http://a"]
)
def test_only_plain_small_values_are_remembered(value):
    assert sorted_out({"mine": value}).ignored == {"mine"}


def test_harmless_unknown_scalars_are_remembered():
    assert sorted_out({"mine": 1, "quicksettings": "a"}) == Posted(remembered={"mine": 1, "quicksettings": "a"})


def test_the_words_for_model_and_vae_are_left_to_the_catalogue():
    posted = sorted_out({"sd_model_checkpoint": " red ", "sd_vae": "fine"})
    assert posted == Posted(model="red", vae="fine")
    assert sorted_out({"sd_vae": "Automatic"}) == Posted(forgotten=frozenset({"sd_vae"}))
    assert sorted_out({"sd_model_checkpoint": "", "sd_vae": 3}).ignored == {"sd_model_checkpoint", "sd_vae"}


@given(POSTED)
def test_whatever_is_posted_each_option_ends_in_exactly_one_place(posted):
    told = sorted_out(posted)
    places = [told.kept.keys(), told.remembered.keys(), told.forgotten, told.ignored]
    places += [{"sd_model_checkpoint"} if told.model else set(), {"sd_vae"} if told.vae else set()]
    assert sorted(name for place in places for name in place) == sorted(posted)


def test_only_what_a_request_could_say_too_shapes_a_job():
    stored = {"sd_model_checkpoint": "red", "clip_skip": 2, "send_seed": False, "mine": 1}
    assert effective(stored) == {"sd_model_checkpoint": "red", "clip_skip": 2}


def test_pictures_are_said_to_come_as_png_whatever_was_posted():
    assert shown({"samples_format": "jpg"})["samples_format"] == "png"


def test_of_what_a_server_reports_only_what_tunes_a_generation_is_shown_in_its_type():
    said = {
        "freeu_b1": 1.5, "freeu_enabled": True, "tome_ratio": "0.5", "s_noise": math.inf, "send_seed": False,
        "samples_format": "jpg", "outdir_samples": "/data", "huggingface_token": "hf_x", "sd_model_checkpoint": "red",
        "upscaler_for_img2img": "/data/models/x", "color_correction_method": "lab",
    }  # fmt: skip
    assert reported(said) == {"freeu_b1": 1.5, "freeu_enabled": True, "color_correction_method": "lab"}


@given(JSON)
def test_whatever_a_server_reports_nothing_but_tunable_scalars_is_shown(said):
    assert all(name in TUNABLE and isinstance(value, str | int | float) for name, value in reported(said).items())
