import pytest

from gateway.domain.errors import InvalidRequest, NotGranted
from gateway.domain.keys import Grants, Names
from gateway.domain.upscalers import aliases_of, resolve_upscaler
from tests.domain.pool import CONTEXT

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
