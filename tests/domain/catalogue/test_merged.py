from gateway.domain.catalogue import BackendInventory, Departed, Sampler, departures, merge, parse_models
from gateway.domain.catalogue.merged import REMEMBERED_S
from tests.domain.pool import backend, models

A, B = "a" * 64, "b" * 64


def named(catalogue):
    return {model.name: sorted(model.on) for model in catalogue.models}


def test_the_same_name_on_two_backends_is_one_entry():
    catalogue = merge([backend("g1", models=models("Diffusers/foo")), backend("g2", models=models("foo [0123456789]"))])
    assert named(catalogue) == {"foo": ["g1", "g2"]}
    assert catalogue.models[0].on["g2"].title == "foo [0123456789]"


def test_a_hash_that_only_one_backend_knows_makes_no_second_entry():
    catalogue = merge([backend("g1", models=models("foo", sha256=A)), backend("g2", models=models("foo"))])
    assert named(catalogue) == {"foo": ["g1", "g2"]}
    assert catalogue.models[0].sha256 == A


def test_two_different_known_hashes_are_two_entries_and_the_majority_keeps_the_name():
    catalogue = merge(
        [backend(f"g{i}", models=models("foo", sha256=sha)) for i, sha in enumerate((A, B, B))]
        + [backend("g3", models=models("foo"))]
    )
    assert named(catalogue) == {"foo": ["g1", "g2", "g3"], f"foo [{A[:10]}]": ["g0"]}


def test_two_different_files_of_one_name_on_one_backend_are_two_entries():
    files = parse_models([{"title": "x/foo [aaaaaaaaaa]", "sha256": A}, {"title": "x/foo.ckpt", "sha256": B}])
    catalogue = merge([BackendInventory("g1", models=files)])
    assert len(catalogue.models) == 2
    assert {m.on["g1"].sha256 for m in catalogue.models} == {A, B}


def test_every_way_to_name_a_checkpoint_finds_it():
    entry = {
        "title": "Diffusers/XL/foo [0123456789]",
        "model_name": "Diffusers/XL/foo",
        "hash": "0123456789",
        "sha256": A,
    }
    catalogue = merge([backend(models=parse_models([entry | {"filename": "/srv/XL/foo.safetensors"}]))])
    for text in (
        "XL/foo",
        "xl\\FOO",
        "XL/foo [0123456789]",
        "Diffusers/XL/foo",
        "foo.safetensors",
        "XL/foo.safetensors",
        "foo",
    ):
        assert [m.name for m in catalogue.model_index.hits(text)] == ["XL/foo"], text
    assert [m.name for m in catalogue.model_index.hits("0123456789")] == ["XL/foo"]
    assert [m.name for m in catalogue.model_index.hits(A.upper())] == ["XL/foo"]


def test_a_checkpoint_stays_for_a_day_after_a_backend_of_the_pool_lost_it():
    before, after = backend("g1", models=models("foo", "bar")), backend("g1", models=models("bar"))
    gone = departures(before, after, now=100.0)
    assert [(d.backend, d.model.name) for d in gone] == [("g1", "foo")]
    listed = merge([after], gone, now=100.0 + REMEMBERED_S)
    assert named(listed) == {"bar": ["g1"], "foo": []}
    assert next(m for m in listed.models if m.name == "foo").lost_by == {"g1"}
    assert named(merge([after], gone, now=101.0 + REMEMBERED_S)) == {"bar": ["g1"]}


def test_a_removed_backend_takes_its_checkpoints_along():
    gone = (Departed("g9", models("foo")[0], 100.0),)
    assert named(merge([backend("g1", models=models("bar"))], gone, now=100.0)) == {"bar": ["g1"]}


def test_a_checkpoint_that_came_back_is_there():
    here = backend("g1", models=models("foo"))
    model = merge([here], [Departed("g1", models("foo")[0], 100.0)], now=100.0).models[0]
    assert (sorted(model.on), model.lost_by) == (["g1"], frozenset())


def test_a_checkpoint_that_only_got_its_hash_has_not_departed():
    assert departures(backend(models=models("foo")), backend(models=models("foo", sha256=A)), now=1.0) == ()


def test_a_checkpoint_replaced_by_another_of_its_name_has_departed():
    gone = departures(backend(models=models("foo", sha256=A)), backend(models=models("foo", sha256=B)), now=1.0)
    assert [d.model.sha256 for d in gone] == [A]


def test_a_sampler_can_do_what_any_backend_makes_it_do():
    catalogue = merge(
        [
            backend("g1", samplers=(Sampler("Euler", frozenset({"karras"})),)),
            backend("g2", samplers=(Sampler("euler", frozenset({"betas"})),)),
        ]
    )
    assert [(s.name, s.schedules) for s in catalogue.samplers] == [("Euler", {"karras", "betas"})]
    assert catalogue.backends_with("samplers karras", "EULER") == {"g1"}
    assert catalogue.backends_with("samplers", "Euler") == {"g1", "g2"}


def test_an_empty_pool_knows_nothing():
    catalogue = merge([])
    assert (catalogue.models, catalogue.model_index.hits("x"), catalogue.backends_with("samplers", "x")) == (
        (),
        (),
        frozenset(),
    )
