import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.wildcards import without_wildcards

SDNEXT = re.compile(r"__(.*?)__", re.DOTALL)  # what SD.Next takes for a wildcard (its source, `styles.py`)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a __colours__ dress", "a _colours_ dress"),
        ("__../../secrets/tokens__", "_../../secrets/tokens_"),
        ("____", "_"),
        ("__a\nb__", "_a\nb_"),
        ("a__b, c__d", "a_b, c_d"),
    ],
)
def test_the_name_of_a_file_between_underscores_is_left_as_a_word(text, left):
    assert without_wildcards(text) == left


@pytest.mark.parametrize("text", ["a__b", "score_9_up, a_b", "^__^", "<lora:my__fine__style:1>", ""])
def test_what_names_no_file_stays_as_it_is(text):
    assert without_wildcards(text) == text


@given(st.text(alphabet="_a\n {}|:>", max_size=30))
def test_a_server_finds_no_wildcard_in_what_is_left(text):
    assert SDNEXT.search(without_wildcards(text)) is None
