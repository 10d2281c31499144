from __future__ import annotations

import pytest

from gateway.domain.errors import InvalidRequest
from gateway.domain.parameters.reading import read_body


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        ('{"a": 1}'.encode("utf-16"), "it is UTF-16"),
        ('{"a": 1}'.encode("utf-16-be"), "it is UTF-16"),
        (b'{"a": "\xff"}', "it is not UTF-8"),
        (b'{"prompt": "a", }', "trailing comma in object (byte 16)"),
        (b'{"prompt": "two\nlines"}', "a raw line break"),
        (b'{"prompt": "two\nlines"}', "(byte 15)"),
        (b'{"prompt": "\\ud800"}', "half of a surrogate pair, which is no character"),
        (b'{"prompt": "\\ud800", "steps": 20, "width": 512}', "half of a surrogate pair, which is no character"),
        (b'{"prompt": "\\ude00"}', "half of a surrogate pair, which is no character (byte 18)"),
        (b'{"prompt": "a', "it ends in the middle of a value"),
        (b"{'prompt': 'a'}", "object keys must be strings (byte 1)"),
    ],
)
def test_a_body_that_is_no_json_is_told_where_and_why(body, said):
    with pytest.raises(InvalidRequest, match="The body is not valid JSON: ") as refused:
        read_body(body, 1_000)
    assert said in str(refused.value)
