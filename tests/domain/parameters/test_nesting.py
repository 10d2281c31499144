import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidRequest
from gateway.domain.parameters.nesting import nests_deeper
from gateway.domain.parameters.reading import read_body

VALUES = st.recursive(
    st.none() | st.text(alphabet='[]{}"\\a', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='"[\\', max_size=3), inner, max_size=3)
    ),
)


def depth_of(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(VALUES, st.integers(0, 5))
def test_the_depth_is_that_of_the_parsed_value(value, levels):
    assert nests_deeper(json.dumps(value).encode(), levels) is (depth_of(value) > levels)


def test_more_brackets_than_any_request_needs_are_refused():
    with pytest.raises(InvalidRequest, match="more than 1000000 brackets"):
        nests_deeper(b"[" * 600_000 + b"]" * 600_000, 32)


def test_a_field_that_nests_too_deep_is_named_in_a_few_characters():
    name = "a" * 1_000_000
    with pytest.raises(InvalidRequest, match="32 levels") as caught:
        read_body(f'{{"b": [], "{name}": {"[" * 32}{"]" * 32}}}'.encode(), 10_000_000)
    assert caught.value.field == "a" * 80


def test_a_large_picture_beside_many_lists_is_copied_once_at_most():
    body = b'{"zzz": ["", "' + b"A" * 4_000_000 + b'", [' + b"[1]," * 100 + b"1]]}"
    tracemalloc.start()
    try:
        assert not nests_deeper(body, 32)
        assert tracemalloc.get_traced_memory()[1] < len(body) * 1.1  # one pass may hold one copy, no more
    finally:
        tracemalloc.stop()
