import pytest

from gateway.domain.catalogue.names import NameIndex, file_name_of, folded, nearest, without_hash, without_suffix
from gateway.domain.keys import Names


def index(*levels):
    things = {}
    return NameIndex.build([[(name, things.setdefault(thing, [thing])) for name, thing in level] for level in levels])


def found(names, text):
    return [thing[0] for thing in names.hits(text)]


def test_an_exact_name_beats_one_that_differs_in_case():
    names = index([("Foo", "a"), ("foo", "b")])
    assert (found(names, "foo"), found(names, "Foo"), found(names, "FOO")) == (["b"], ["a"], ["a", "b"])


def test_the_first_level_with_a_hit_wins_over_better_spelling_further_down():
    names = index([("x/Model", "a")], [("x\\model", "b")])
    assert found(names, "x\\model") == ["a"]


def test_a_thing_that_bears_a_name_twice_is_one_hit():
    assert found(index([("foo", "a"), ("FOO", "a")]), "Foo") == ["a"]


def test_an_empty_name_names_nothing():
    assert found(index([("", "a")]), "") == []


@pytest.mark.parametrize(
    ("name", "plain"),
    [("a.safetensors", "a"), ("a.b.ckpt", "a.b"), ("a.SAFETENSORS", "a"), ("a.v2", "a.v2"), (".pt", ".pt")],
)
def test_only_the_suffix_of_a_weights_file_goes(name, plain):
    assert without_suffix(name) == plain


def test_a_hash_behind_a_title_goes_and_other_brackets_stay():
    assert without_hash("a [0123abcdef]") == "a"
    assert without_hash("a [anime]") == "a [anime]"


def test_the_last_part_of_a_path_of_either_kind():
    assert [file_name_of(p) for p in ("/x/y.ckpt", "x\\y.ckpt", "y.ckpt", "/x/y/")] == [
        "y.ckpt",
        "y.ckpt",
        "y.ckpt",
        "y",
    ]


def test_slashes_and_case_do_not_matter_when_folded():
    assert folded(" XL\\Model ") == folded("xl/model")


def test_the_nearest_name_is_one_the_key_may_use():
    known = ("juggernaut-xl", "juggernaut-x1")
    assert nearest("Juggernaut-XK", known) in known
    assert (
        nearest("Juggernaut-XK", [name for name in known if name in Names(deny=("juggernaut-xl",))]) == "juggernaut-x1"
    )
    assert nearest("zzz", known) == ""


def test_hundreds_of_names_that_may_not_be_told_do_not_hide_one_that_may():
    allowed = Names(allow=("model-x",))
    known = [*(f"model-{n}" for n in range(500)), "model-x"]
    assert nearest("model-xx", (name for name in known if name in allowed)) == "model-x"
