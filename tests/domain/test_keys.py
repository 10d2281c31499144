"""Keys, what may be shown of them, and grants."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.keys import Names, digest_of, has_key_form, prefix_of

KEY = "sk-0123456789abcdefghij"


@pytest.mark.parametrize("text", [KEY, "sk-" + "a" * 17, "sk-demo_KEY-0123456789"])
def test_a_key_is_sk_and_at_least_seventeen_characters(text):
    assert has_key_form(text)


NO_KEYS = ["", "sk-", "sk-" + "a" * 16, "pk-" + "a" * 20, KEY + " ", KEY + "\n", "sk-" + "ä" * 20]


@pytest.mark.parametrize("text", NO_KEYS)
def test_anything_else_is_no_key(text):
    assert not has_key_form(text)


def test_what_is_kept_of_a_key_is_its_sha256():
    assert digest_of(KEY) == hashlib.sha256(KEY.encode()).hexdigest()


def test_what_is_shown_of_a_key_is_too_short_to_use():
    assert (prefix_of(KEY), has_key_form(prefix_of(KEY))) == ("sk-01234", False)


@pytest.mark.parametrize(
    ("names", "granted", "refused"),
    [
        (Names(), ["anything", "At All"], []),
        (Names(("sdxl-*",)), ["sdxl-base", "SDXL-Turbo"], ["flux", "my-sdxl-base"]),
        (Names(("*",), ("*-nsfw",)), ["safe"], ["model-nsfw", "Model-NSFW"]),
        (Names(("a",), ("a",)), [], ["a", "A"]),
        (Names(()), [], ["anything"]),
        (Names(("model [[]0123456789]",)), ["model [0123456789]"], ["model 0"]),
    ],
)
def test_grants_are_globs_without_case_and_a_deny_wins(names, granted, refused):
    assert [name in names for name in granted] == [True] * len(granted)
    assert [name in names for name in refused] == [False] * len(refused)


@given(st.text(max_size=20), st.text(max_size=20))
def test_what_is_denied_is_granted_by_nothing(allowed, name):
    assert name not in Names((allowed, "*"), ("*",))
