import json

from gateway.domain.catalogue import Lora, Sampler, parse_models
from gateway.domain.catalogue.listings import (
    embeddings_listed,
    latent_modes_listed,
    loras_listed,
    models_listed,
    names_listed,
    samplers_listed,
    scripts_listed,
    upscalers_listed,
)
from gateway.domain.keys import Grants, Names
from gateway.domain.samplers import working_names
from gateway.domain.upscalers import aliases_of
from tests.domain.pool import backend, context

HASHED = {
    "title": "Diffusers/XL/foo [0123456789]",
    "model_name": "Diffusers/XL/foo",
    "hash": "0123456789",
    "type": "safetensors",
}
POOL = context(
    backend(
        models=parse_models(
            [HASHED | {"filename": "/srv/models/XL/foo.safetensors", "sha256": None}, {"title": "bar"}]
        ),
        embeddings=("easyneg",),
        samplers=(Sampler("Euler a", aliases=("k",), options={"a": True, "b": 1}),),
    )
).catalogue


def test_a_model_has_one_title_and_no_folder():
    assert models_listed(POOL, Grants(models=Names(("xl/*",)))) == [
        {
            "title": "XL/foo",
            "model_name": "XL/foo",
            "hash": "0123456789",
            "sha256": None,
            "type": "safetensors",
            "filename": "foo.safetensors",
            "config": None,
        }
    ]


def test_only_granted_entries_are_listed_anywhere():
    nothing = Grants(Names(()), Names(()), Names(()))
    assert models_listed(POOL, nothing) == loras_listed(POOL, nothing) == latent_modes_listed(POOL, nothing) == []
    assert [u["name"] for u in upscalers_listed(POOL, nothing, aliases_of(POOL, {}))] == ["None"]


def test_samplers_have_aliases_text_options_and_the_other_names_that_work():
    listed = samplers_listed(POOL, working_names(POOL))
    assert listed[0] == {"name": "Euler a", "aliases": ["k"], "options": {"a": "true", "b": "1"}}
    assert {"name": "k_euler_a", "aliases": ["Euler a"], "options": {}} in listed
    assert len({entry["name"] for entry in listed}) == len(listed)


def test_upscalers_have_a_number_for_a_scale_and_their_aliases_too():
    listed = upscalers_listed(POOL, Grants(), aliases_of(POOL, {}))
    assert all(isinstance(u["scale"], float) for u in listed)
    assert {u["name"]: u["scale"] for u in listed} | {"None": 1.0, "R-ESRGAN 4x+": 4.0, "Nearest": 1.0} == {
        u["name"]: u["scale"] for u in listed
    }


def test_latent_modes_are_the_latent_upscalers():
    assert latent_modes_listed(POOL, Grants()) == [{"name": "Latent Nearest"}]


def test_a_lora_always_has_an_alias_and_never_a_path():
    pool = context(backend(loras=(Lora("styles/gold", "", "gold"),))).catalogue
    assert loras_listed(pool, Grants()) == [
        {"name": "styles/gold", "alias": "styles/gold", "path": "gold", "metadata": {}}
    ]


def test_embeddings_are_objects_by_name_and_plain_lists_have_their_key():
    assert embeddings_listed(POOL)["loaded"].keys() == {"easyneg"}
    assert names_listed(POOL, "vaes", "model_name")[0] == {"model_name": "sdxl-vae-fp16"}


def test_scripts_are_those_the_operator_allows_and_a_backend_has():
    assert scripts_listed(POOL, ("XYZ Grid", "loopback", "outpainting")) == {
        "txt2img": ["xyz grid"],
        "img2img": ["xyz grid", "outpainting"],
    }


def test_no_path_of_a_server_is_in_any_list():
    everything = [
        models_listed(POOL, Grants()),
        samplers_listed(POOL, {}),
        upscalers_listed(POOL, Grants()),
        loras_listed(POOL, Grants()),
    ]
    assert "/srv" not in json.dumps(everything)
