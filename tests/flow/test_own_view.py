"""What one key sees of the server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain.catalogue import merge
from gateway.domain.errors import Forbidden, StoreUnavailable, UnknownModel
from gateway.domain.keys import Grants, Names
from gateway.domain.parameters import OperatorPolicy
from gateway.flow.own_view import OwnOptions, granted_models, require_a_model, shown_model
from gateway.flow.snapshot import PublishedInventory
from tests.flow.world import CALLER
from tests.support.memory_own import MemoryOwn
from tests.support.memory_store import MemoryStore

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


OPERATOR = OperatorPolicy(default_model="blue")


@pytest.mark.parametrize(
    ("who", "pool_default", "posted", "seen"),
    [
        (caller("*", default_model="red"), "blue", None, "red"),
        (caller("*"), "blue", None, "blue"),
        (caller("*"), "", None, ""),
        (caller("red"), "", None, "red"),
        (caller("*", default_model="green"), "", None, ""),
        (caller("*", default_model="red"), "red", "blue", "blue"),
        (caller("*"), "blue", "green", "green"),
    ],
)
def test_the_model_shown_is_the_one_that_a_call_without_a_name_would_use(who, pool_default, posted, seen):
    operator = OperatorPolicy(default_model=pool_default)
    name, model = shown_model(who, CATALOGUE, operator, {"sd_model_checkpoint": posted} if posted else {})
    assert (name, model.name if model else "") == (seen, "" if seen == "green" else seen)


def test_a_pool_default_that_a_key_was_not_granted_is_not_shown_to_it():
    assert shown_model(caller("red", "green"), CATALOGUE, OPERATOR, {}) == ("", None)


@pytest.fixture
def options():
    return OwnOptions(MemoryOwn(MemoryStore(), "one"))


async def test_what_is_posted_is_seen_by_this_key_alone(options):
    told = await options.post(caller("*"), CATALOGUE, OPERATOR, {"sd_model_checkpoint": "red", "send_seed": False})
    assert told == {"sd_model_checkpoint": True, "send_seed": True}
    mine = await options.view(caller("*"), CATALOGUE, OPERATOR)
    theirs = await options.view(replace(caller("*"), key_id="other"), CATALOGUE, OPERATOR)
    assert (mine["sd_model_checkpoint"], mine["sd_checkpoint_hash"], mine["send_seed"]) == ("red", "a" * 64, False)
    assert (theirs["sd_model_checkpoint"], theirs["send_seed"]) == ("blue", True)


async def test_the_whole_object_sent_back_changes_nothing_else(options):
    before = await options.view(caller("*"), CATALOGUE, OPERATOR)
    told = await options.post(caller("*"), CATALOGUE, OPERATOR, {**before, "sd_model_checkpoint": "red"})
    assert [name for name, was_kept in told.items() if not was_kept] == ["sd_checkpoint_hash"]
    after = await options.view(caller("*"), CATALOGUE, OPERATOR)
    assert after == {**before, "sd_model_checkpoint": "red", "sd_checkpoint_hash": "a" * 64}
    assert (await options.kept(caller("*"))).values == {"sd_model_checkpoint": "red"}


async def test_an_unknown_model_is_refused_and_nothing_of_the_post_is_kept(options):
    with pytest.raises(UnknownModel):
        await options.post(caller("*"), CATALOGUE, OPERATOR, {"sd_model_checkpoint": "green", "send_seed": False})
    assert (await options.kept(caller("*"))).values == {}


async def test_a_model_that_this_key_may_not_use_is_refused_as_unknown(options):
    with pytest.raises(UnknownModel):
        await options.post(caller("red"), CATALOGUE, OPERATOR, {"sd_model_checkpoint": "blue"})


async def test_a_posted_model_that_is_gone_is_no_error_when_it_is_sent_back_as_shown(options):
    await options.post(caller("*"), CATALOGUE, OPERATOR, {"sd_model_checkpoint": "red"})
    without_red = merge([PublishedInventory({"sd-models": ENTRIES[1:]}).inventory("a")], [], 0.0)
    seen = await options.view(caller("*"), without_red, OPERATOR)
    assert (seen["sd_model_checkpoint"], seen["sd_checkpoint_hash"]) == ("red", "")
    told = await options.post(caller("*"), without_red, OPERATOR, {**seen, "send_seed": False})
    assert (told["sd_model_checkpoint"], told["send_seed"]) == (False, True)
    with pytest.raises(UnknownModel):
        await options.post(caller("*"), without_red, OPERATOR, {"sd_model_checkpoint": "green"})


async def test_a_vae_is_kept_in_the_pools_spelling_or_not_at_all(options):
    pool = merge(
        [PublishedInventory({"sd-models": ENTRIES, "sd-vae": [{"model_name": "Fine.safetensors"}]}).inventory("a")]
    )
    for posted, was_kept, seen in (("fine", True, "Fine.safetensors"), ("none", True, "None"), ("x", False, "None")):
        assert await options.post(caller("*"), pool, OPERATOR, {"sd_vae": posted}) == {"sd_vae": was_kept}
        assert (await options.view(caller("*"), pool, OPERATOR))["sd_vae"] == seen
    assert await options.post(caller("*"), pool, OPERATOR, {"sd_vae": "Automatic"}) == {"sd_vae": True}
    assert (await options.kept(caller("*"))).values == {}


async def test_unknown_harmless_options_are_remembered_up_to_a_number(options):
    many = {f"mine_{number}": number for number in range(200)}
    told = await options.post(caller("*"), CATALOGUE, OPERATOR, many)
    assert sum(told.values()) == 128
    seen = await options.view(caller("*"), CATALOGUE, OPERATOR)
    assert {name for name, was_kept in told.items() if was_kept} <= seen.keys()


async def test_a_key_without_any_model_has_no_options(options):
    with pytest.raises(Forbidden):
        await options.view(caller("green"), CATALOGUE, OPERATOR)


class AwayStore(MemoryOwn):
    """A store whose wire can be cut."""

    is_away = False

    async def options(self, key_id):
        if self.is_away:
            raise StoreUnavailable("away")
        return await super().options(key_id)


async def test_while_the_store_is_away_a_key_is_shown_what_was_last_seen_and_no_job_is_shaped_by_it():
    store = AwayStore(MemoryStore(), "one")
    options = OwnOptions(store)
    await options.post(caller("*"), CATALOGUE, OPERATOR, {"sd_model_checkpoint": "red"})
    before = await options.view(caller("*"), CATALOGUE, OPERATOR)
    store.is_away = True
    assert await options.view(caller("*"), CATALOGUE, OPERATOR) == before
    stranger = await options.view(replace(caller("*"), key_id="other"), CATALOGUE, OPERATOR)
    assert stranger["sd_model_checkpoint"] == "blue"
    with pytest.raises(StoreUnavailable):
        await options.kept(caller("*"))


async def test_an_option_that_a_server_has_set_is_shown_until_the_key_posts_another_value(options):
    lists = {"sd-models": ENTRIES, "options": {"freeu_b1": 1.5, "eta_ddim": 0.5}}
    other = {"sd-models": ENTRIES, "options": {"freeu_b1": 1.7, "tome_ratio": 0.25}}
    inventories = [PublishedInventory(one).inventory(name) for name, one in (("a", lists), ("b", other))]
    both, who = merge(inventories, [], 0.0), caller("*")

    async def seen(catalogue):
        shown = await options.view(who, catalogue, OPERATOR)
        return {name: shown[name] for name in ("freeu_b1", "freeu_b2", "eta_ddim", "tome_ratio")}

    assert await seen(both) == {"freeu_b1": 1.5, "freeu_b2": 1.4, "eta_ddim": 0.5, "tome_ratio": 0.25}
    whole = await options.view(who, both, OPERATOR)
    await options.post(who, both, OPERATOR, {**whole, "freeu_b1": 1.2})  # the default, which is not shown here
    assert await seen(both) == {"freeu_b1": 1.2, "freeu_b2": 1.4, "eta_ddim": 0.5, "tome_ratio": 0.25}
    await options.post(who, both, OPERATOR, {"freeu_b1": 1.5})
    second = merge(inventories[1:], [], 0.0)
    assert await seen(second) == {"freeu_b1": 1.7, "freeu_b2": 1.4, "eta_ddim": 0.0, "tome_ratio": 0.25}
