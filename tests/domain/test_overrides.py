from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.overrides import laid_over

VALUES = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


def test_objects_are_merged_key_by_key_and_all_else_is_replaced_whole():
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1, "c": {"z": 1}}
    assert laid_over(base, {"a": {"y": [3]}, "c": 5}) == {"a": {"x": 1, "y": [3]}, "b": 1, "c": 5}


@given(OBJECTS, OBJECTS)
def test_laying_the_same_over_twice_is_laying_it_over_once_and_changes_neither(base, top):
    before = repr((base, top))
    once = laid_over(base, top)
    assert laid_over(once, top) == once
    assert repr((base, top)) == before


@given(OBJECTS, OBJECTS)
def test_every_plain_value_on_top_wins(base, top):
    merged = laid_over(base, top)
    assert all(merged[name] == value for name, value in top.items() if not isinstance(value, dict))
    assert merged.keys() == base.keys() | top.keys()
