"""What one key sees of the server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain.catalogue import merge
from gateway.domain.errors import Forbidden
from gateway.domain.keys import Grants, Names
from gateway.flow.own_view import FIXED_OPTIONS, granted_models, options_of, require_a_model
from gateway.flow.snapshot import PublishedInventory
from tests.flow.world import CALLER

ENTRIES = [
    {"title": "red [aaaaaaaaaa]", "model_name": "red", "sha256": "a" * 64},
    {"title": "blue", "model_name": "blue"},
]
CATALOGUE = merge([PublishedInventory({"sd-models": ENTRIES}).inventory("a")], [], 0.0)


def caller(*models, default_model=""):
    return replace(CALLER, grants=Grants(models=Names(models)), default_model=default_model)


def test_a_key_sees_the_models_it_was_granted_in_the_catalogues_order():
    assert [model.name for model in granted_models(caller("*"), CATALOGUE)] == ["blue", "red"]
    assert [model.name for model in granted_models(caller("r*"), CATALOGUE)] == ["red"]


def test_a_key_without_any_model_is_told_so():
    with pytest.raises(Forbidden, match="any image model"):
        require_a_model(caller("green"), CATALOGUE)


@pytest.mark.parametrize(
    ("who", "pool_default", "chosen"),
    [
        (caller("*", default_model="red"), "blue", "red"),
        (caller("*"), "blue", "blue"),
        (caller("*"), "", ""),
        (caller("red"), "", "red"),
        (caller("red"), "blue", "red"),
        (caller("*", default_model="green"), "", ""),
    ],
)
def test_the_model_shown_is_the_one_that_a_call_without_a_name_would_use(who, pool_default, chosen):
    options = options_of(who, CATALOGUE, pool_default)
    assert options["sd_model_checkpoint"] == chosen
    assert options["sd_checkpoint_hash"] == ("a" * 64 if chosen == "red" else "")
    assert FIXED_OPTIONS.items() <= options.items()
