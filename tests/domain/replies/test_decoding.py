"""A backend's small answers: JSON, or nothing."""

from __future__ import annotations

import pytest

from gateway.domain.replies import decoded
from gateway.domain.replies.decoding import MOST_VALUES


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"[" * 5000, b'{"title": "\xff"}', b'"\xff"'])
def test_what_is_no_json_is_none(body):
    assert decoded(body) is None


def test_an_answer_of_too_many_values_is_not_read():
    assert decoded(b"[" + b"1," * (MOST_VALUES - 1) + b"1]") == [1] * MOST_VALUES
    assert decoded(b"[" + b"1," * (MOST_VALUES + 1) + b"1]") is None
