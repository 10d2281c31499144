from gateway.domain.catalogue import merge, parse_models
from gateway.domain.catalogue.granted import any_granted, is_granted, only_granted
from gateway.domain.catalogue.listings import models_listed
from gateway.domain.keys import Grants, Names
from tests.domain.pool import backend, models

POOL = merge([backend(models=models("XL/foo", "bar", "new"))])


def test_the_only_granted_checkpoint_is_known_and_two_are_none():
    assert only_granted(POOL, Grants(models=Names(("new",)))).name == "new"
    assert only_granted(POOL, Grants()) is None
    assert only_granted(POOL, Grants(models=Names(()))) is None


def test_a_key_without_grants_has_no_model():
    assert any_granted(POOL, Grants(models=Names(("ne*",))))
    assert not any_granted(POOL, Grants(models=Names(("*",), ("*",))))


def test_a_name_with_its_hash_can_be_granted_and_denied_as_it_is_listed():
    name = f"foo [{'b' * 10}]"
    assert name in Names((name,))
    assert name not in Names(deny=(name.upper(),))


def test_who_may_not_use_a_name_may_not_use_its_namesakes():
    hashes = [{"title": "foo", "sha256": sha * 64} for sha in "aab"]
    pool = merge([backend(f"g{n}", models=parse_models([entry])) for n, entry in enumerate(hashes)])
    assert [model.name for model in pool.models] == ["foo", f"foo [{'b' * 10}]"]
    grants = Grants(models=Names(deny=("foo",)))
    assert not any_granted(pool, grants)
    assert models_listed(pool, grants) == []
    assert [is_granted(model, Grants(models=Names(("foo",)))) for model in pool.models] == [True, False]
