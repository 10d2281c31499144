import pytest

from gateway.domain.catalogue import Departed, merge, parse_models
from gateway.domain.errors import NotGranted, UnknownModel
from gateway.domain.keys import Grants, Names
from gateway.domain.models import resolve_model, shown
from tests.domain.pool import backend, models

HASHED = {
    "title": "XL/foo [0123456789]",
    "model_name": "XL/foo",
    "hash": "0123456789",
    "sha256": "0123456789" + "a" * 54,
}
POOL = merge(
    [
        backend(
            "g1",
            models=(
                *parse_models([HASHED | {"filename": "/srv/XL/foo.safetensors"}]),
                *models("SD/foo", "bar", "Bar", "new"),
            ),
        ),
    ]
)


def found(text, grants=None, **aliases):
    return resolve_model(text, POOL, grants or Grants(), aliases).name


@pytest.mark.parametrize(
    "text",
    [
        *("XL/foo", "xl\\FOO", " XL/foo ", "XL/foo [0123456789]", "xl/foo [0123456789]", "foo.safetensors"),
        *(
            "XL/foo.safetensors",
            "XL/foo.safetensors [0123456789]",
            "0123456789",
            HASHED["sha256"],
            HASHED["sha256"].upper(),
        ),
        *("/srv/me/models/XL/foo.safetensors", "C:\\models\\foo.safetensors"),
    ],
)
def test_a_checkpoint_is_found_by_each_of_its_names(text):
    assert found(text) == "XL/foo"


def test_an_exact_name_wins_over_one_in_another_case_and_two_in_another_case_are_listed():
    assert (found("bar"), found("Bar")) == ("bar", "Bar")
    with pytest.raises(UnknownModel, match=r'"(bar|Bar)", "(bar|Bar)"'):
        found("BAR")


def test_a_base_name_of_two_checkpoints_is_refused_with_both():
    with pytest.raises(UnknownModel, match=r'any of "SD/foo", "XL/foo"\. Name one of these'):
        found("foo")


def test_of_two_with_one_name_the_only_granted_one_counts():
    assert found("foo", Grants(models=Names(("SD/*",)))) == "SD/foo"


def test_a_title_with_a_hash_is_right_while_we_know_no_hash_and_wrong_when_ours_differs():
    assert found("new [deadbeef00]") == "new"
    with pytest.raises(UnknownModel):
        found("XL/foo [deadbeef00]")


def test_an_operators_alias_comes_last():
    assert found("fast", fast="bar") == "bar"
    assert found("FAST", fast="bar") == "bar"
    assert found("bar", bar="new") == "bar"


@pytest.mark.parametrize(
    "text",
    [
        "https://huggingface.co/acme/x",
        "acme/no-such",
        "huggingface/acme/x",
        "/etc/passwd",
        "../../x",
        "[0123456789]",
        ".",
    ],
)
def test_what_a_backend_would_download_or_read_is_unknown_here(text):
    with pytest.raises(UnknownModel):
        found(text)


def test_a_checkpoint_of_somebody_else_is_refused_by_name():
    with pytest.raises(NotGranted, match='may not use the model "new"'):
        found("new", Grants(models=Names(("bar",))))


def test_an_unknown_name_gets_a_hint_only_at_what_the_key_may_use():
    with pytest.raises(UnknownModel, match=r'Did you mean "XL/foo"\?'):
        found("XL/fooo")
    with pytest.raises(UnknownModel) as caught:
        found("XL/fooo", Grants(models=Names(("bar",))))
    assert "XL/foo?" not in str(caught.value)


def test_no_path_is_ever_repeated_to_the_caller():
    assert shown("/srv/secret/models/x.ckpt") == "x.ckpt"
    assert shown("C:\\secret\\x.ckpt") == "x.ckpt"
    assert len(shown("x" * 5_000)) < 200
    assert shown("a\ud800") == "a?"


def test_no_model_is_suggested_that_is_gone_or_that_the_key_may_not_use():
    gone = Departed("g1", models("juggernaut")[0], 0.0)
    pool = merge([backend("g1", models=models("juggernaus", "other"))], [gone], now=1.0)
    for grants, hint in (
        (Grants(), 'Did you mean "juggernaus"'),
        (Grants(Names(deny=("jugger*",))), "There is no model"),
    ):
        with pytest.raises(UnknownModel, match=hint) as caught:
            resolve_model("juggernautt", pool, grants, {})
        assert ('"juggernaut"' in str(caught.value), grants == Grants() or "Did you" not in str(caught.value)) == (
            False,
            True,
        )
