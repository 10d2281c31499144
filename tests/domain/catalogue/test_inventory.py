import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.catalogue.inventory import (
    Lora,
    Scripts,
    parse_loras,
    parse_models,
    parse_names,
    parse_samplers,
    parse_scripts,
    parse_upscalers,
)
from tests.domain.pool import backend, models

HUGGING_FACE = {  # a folder of the Hugging Face cache, as SD.Next lists it (observed)
    "title": "Diffusers/acme/tiny-c [0123456789]",
    "model_name": "Diffusers/acme/tiny-c",
    "filename": "/data/models/Diffusers/models--acme--tiny-c/snapshots/0123456789abcdef0123456789abcdef01234567",
    "type": "diffusers",
    "sha256": "0123456789abcdef0123456789abcdef01234567",
    "hash": "0123456789",
    "config": None,
}
SINGLE_FILE = {  # A1111's form: the title has folder, extension and hash, the model name has lost its folder
    "title": "XL/model.safetensors [aaaaaaaaaa]",
    "model_name": "model",
    "filename": "/srv/models/XL/model.safetensors",
    "sha256": "AAAAAAAAAA" + "0" * 54,
    "hash": "aaaaaaaaaa",
}


def test_our_name_has_no_root_folder_no_extension_and_no_hash():
    assert [m.name for m in parse_models([HUGGING_FACE, SINGLE_FILE])] == ["acme/tiny-c", "XL/model"]


def test_the_title_is_kept_to_the_letter_and_no_folder_of_the_server_is():
    first, second = parse_models([HUGGING_FACE, SINGLE_FILE])
    assert (first.title, first.base_name, first.hash) == ("Diffusers/acme/tiny-c [0123456789]", "tiny-c", "0123456789")
    assert (second.title, second.file_name, second.sha256[:10]) == (SINGLE_FILE["title"], "model.safetensors", "a" * 10)
    assert not any(
        "/srv" in str(value) or "/data" in str(value) for m in (first, second) for value in (m.title, m.file_name)
    )


def test_two_files_that_would_share_our_name_keep_more_of_their_own():
    names = [m.name for m in models("Diffusers/foo", "foo.safetensors", "foo.ckpt")]
    assert len(set(names)) == 3
    assert "foo" in names


def test_two_files_of_one_name_and_known_hashes_are_told_apart_later():
    files = parse_models([{"title": "foo [aaaaaaaaaa]", "sha256": "a" * 64}, {"title": "x/../foo", "sha256": "b" * 64}])
    assert {f.sha256[:1] for f in files} == {"a", "b"}


def test_a_samplers_options_show_which_schedules_it_can_do():
    both, none = parse_samplers(
        [
            {"name": "Euler", "options": {"use_karras_sigmas": False, "use_beta_sigmas": False}},
            {"name": "Euler a", "options": {}},
        ]
    )
    assert both.schedules == {"karras", "betas"}
    assert none.schedules == frozenset()


def test_separators_of_a_menu_are_no_samplers():
    assert [s.name for s in parse_samplers([{"name": "── Euler ──"}, {"name": "Euler"}, {"name": "─────"}])][
        -1
    ] == "Euler"
    assert len(parse_samplers([{"name": "─────"}])) == 0


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("ESRGAN 4x Ultrasharp", 4.0),
        ("ESRGAN 8x NMKD Faces", 8.0),
        ("Spandrel 2x RealPLKSR AnimeSharpV2", 2.0),
        ("Resize Lanczos", 1.0),
        ("None", 1.0),
        ("HQX Interpolation", 1.0),
        ("SCUNet GAN", 4.0),
        ("realesrgan_x2plus", 4.0),
    ],
)
def test_the_scale_of_an_upscaler_is_read_from_its_name(name, scale):
    assert parse_upscalers([{"name": name, "scale": 4.0}])[0].scale == scale


def test_the_file_name_of_a_lora_has_no_folder_and_no_extension():
    assert parse_loras([{"name": "styles/gold", "alias": "Gold", "path": "/srv/loras/styles/gold_v2.safetensors"}]) == (
        Lora("styles/gold", "Gold", "gold_v2"),
    )


def test_names_are_read_from_every_shape_a_server_uses():
    assert parse_names({"loaded": {"a": {}}, "skipped": {}}) == ("a",)
    assert parse_names({"loaded": ["a"], "skipped": []}) == ("a",)
    assert parse_names({"model_list": ["canny [1]"]}) == ("canny [1]",)
    assert parse_names([{"model_name": "vae"}, {"name": "yolo"}, "plain", 7, None]) == ("vae", "yolo", "plain")


def test_scripts_are_read_by_operation():
    assert parse_scripts({"txt2img": ["a"], "img2img": ["b", 3]}) == Scripts(frozenset({"a"}), frozenset({"b"}))


JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "title", "options", "loaded", "scale", "aliases", "hash", "txt2img"]),
            inner,
            max_size=4,
        )
    ),
)


@given(JUNK)
def test_no_answer_of_a_backend_breaks_a_parser(answer):
    for parse in (parse_models, parse_samplers, parse_upscalers, parse_loras, parse_names, parse_scripts):
        parse(answer)
        parse([answer])


def test_a_backend_finds_its_file_by_our_name_and_by_sha256_where_it_is_known():
    known = backend(models=models("foo", sha256="a" * 64))
    assert known.model("foo").title == "foo"
    assert known.model("foo", "a" * 64).title == "foo"
    assert known.model("foo", "b" * 64) is None
    assert backend(models=models("foo")).model("foo", "b" * 64).title == "foo"
    assert known.model("bar") is None


def test_a_backend_knows_its_own_spelling():
    gpu = backend()
    assert gpu.spelling("upscalers", "resize LANCZOS") == "Resize Lanczos"
    assert gpu.spelling("vaes", "nope") is None
    assert gpu.sampler("dpm++ 2m").name == "DPM++ 2M"


def test_a_lora_is_the_same_under_another_folder_on_another_backend():
    assert backend(loras=(Lora("gold", "", "gold"),)).lora(Lora("styles/gold", "", "gold")) == Lora("gold", "", "gold")
    assert backend(loras=()).lora(Lora("gold")) is None


def test_two_checkpoints_with_one_base_name_cannot_be_told_by_an_infotext():
    gpu = backend(models=models("a/foo", "b/foo", "bar"))
    assert [gpu.shares_base_name(m) for m in gpu.models] == [True, True, False]
