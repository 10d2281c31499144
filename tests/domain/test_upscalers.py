import pytest

from gateway.domain.catalogue import parse_upscalers
from gateway.domain.errors import InvalidRequest, NotGranted
from gateway.domain.jobs import Operation
from gateway.domain.keys import Grants, Names
from gateway.domain.upscalers import aliases_of, resolve_upscaler
from tests.domain.pool import CONTEXT, PICTURE, backend, context, shaped

POOL = CONTEXT.catalogue


def found(text, grants=None, **aliases):
    return resolve_upscaler(text, "upscaler_1", POOL, grants or Grants(), aliases).name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ESRGAN 4x GAN", "ESRGAN 4x GAN"),
        ("esrgan 4X gan", "ESRGAN 4x GAN"),
        ("R-ESRGAN 4x+", "ESRGAN 4x GAN"),
        ("R-ESRGAN 4x+ Anime6B", "ESRGAN 4x GAN"),
        ("ESRGAN_4x", "ESRGAN 4x GAN"),
        ("4x-UltraSharp", "ESRGAN 4x Ultrasharp"),
        ("Lanczos", "Resize Lanczos"),
        ("Nearest", "Resize Nearest"),
        ("Latent", "Latent Nearest"),
        ("None", "None"),
        ("none", "None"),
        ("", "None"),
    ],
)
def test_an_upscaler_in_any_servers_words_is_found_in_the_pools_exact_spelling(text, name):
    assert found(text) == name


def test_the_operators_aliases_come_before_ours():
    assert found("lanczos", Lanczos="Resize Nearest") == "Resize Nearest"


def test_an_unknown_upscaler_names_its_field_and_the_nearest():
    with pytest.raises(
        InvalidRequest, match=r'upscaler_1: there is no upscaler "ESRGAN 4x GANN"\. Did you mean "ESRGAN 4x GAN"'
    ) as caught:
        found("ESRGAN 4x GANN")
    assert caught.value.field == "upscaler_1"


def test_an_upscaler_that_is_not_granted_is_refused_and_none_needs_no_grant():
    nothing = Grants(upscalers=Names(()))
    with pytest.raises(NotGranted):
        found("Lanczos", nothing)
    assert found("None", nothing) == "None"


def test_of_several_that_serve_the_first_granted_one_is_taken():
    assert found("R-ESRGAN 4x+ Anime6B", Grants(upscalers=Names(("esrgan*",)))) == "ESRGAN 4x GAN"


def test_the_listed_aliases_all_work_and_hide_no_upscaler():
    listed = dict(aliases_of(POOL, {"mine": "Resize Lanczos"}))
    assert listed["mine"].name == "Resize Lanczos"
    assert "R-ESRGAN 4x+" in listed
    assert all(found(alias, mine="Resize Lanczos") == upscaler.name for alias, upscaler in listed.items())
    assert not listed.keys() & {u.name for u in POOL.upscalers}


@pytest.mark.parametrize("text", ["Nope", "Non", "none2", "Nonee"])
def test_an_unknown_upscaler_is_not_answered_with_did_you_mean_none(text):
    with pytest.raises(InvalidRequest) as caught:
        found(text)
    assert "Did you mean" not in str(caught.value)


URL = "https://models.example/4x.pth"


def listing(**paths):
    """An answer to `GET /upscalers`: name -> model_path."""
    return parse_upscalers([{"name": n.replace("_", " "), "scale": 4.0, "model_path": p} for n, p in paths.items()])


def resolved(text, *listings):
    ctx = context(*(backend(f"gpu-{n}", upscalers=upscalers) for n, upscalers in enumerate(listings)))
    return resolve_upscaler(text, "upscaler_1", ctx.catalogue, Grants(), {}).name


def test_r_esrgan_is_resolved_to_an_upscaler_whose_weights_are_on_disk():
    ours = listing(ESRGAN_4x_GAN=URL, SwinIR_4x_GAN="/models/swinir/4x.pth", ESRGAN_4x_Remacri="/models/4x.pth")
    assert resolved("R-ESRGAN 4x+", ours) == "SwinIR 4x GAN"
    assert (
        resolved("R-ESRGAN 4x+", listing(ESRGAN_4x_GAN=URL, ESRGAN_4x_Remacri="C:\\models\\4x.pth"))
        == "ESRGAN 4x Remacri"
    )
    assert resolved("R-ESRGAN 4x+", listing(ESRGAN_4x_GAN=URL, Aura_SR_4x="acme/upscaler")) == "ESRGAN 4x GAN"
    assert resolved("R-ESRGAN 4x+", listing(ESRGAN_4x_GAN=URL, ESRGAN_8x_Faces="/models/8x.pth")) == "ESRGAN 4x GAN"


def test_weights_on_one_of_two_backends_are_there_and_jobs_go_to_that_one():
    missing, there = listing(ESRGAN_4x_GAN=URL), listing(ESRGAN_4x_GAN="/models/4x.pth")
    assert resolved("R-ESRGAN 4x+", missing, there) == "ESRGAN 4x GAN"
    for pool, able in (((missing, there), {"gpu-1"}), ((missing, missing), {"gpu-0", "gpu-1"})):
        ctx = context(*(backend(f"gpu-{n}", upscalers=upscalers) for n, upscalers in enumerate(pool)))
        fields = {"image": PICTURE, "upscaler_1": "R-ESRGAN 4x+"}
        assert shaped(fields, ctx, Operation.UPSCALE).runnable_on == able
