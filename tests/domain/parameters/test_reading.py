import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import BodyTooLarge, InvalidRequest
from gateway.domain.parameters.reading import coerced, decoded, raw_items, read_body, typed_fields
from gateway.domain.parameters.table import Does, Kind, Row, drops, ints, raws, table_of, text

INT = Row("n", Does.PASS, Kind.INT, -1, 100)
FLOAT = Row("x", Does.PASS, Kind.FLOAT, 0, 10)
BOOL = Row("b", Does.PASS, Kind.BOOL)
TEXT = Row("t", Does.PASS, Kind.TEXT, high=5)


def read(body, most=10_000_000):
    return {name: bytes(raw) for name, raw in read_body(body, most).items()}


def test_the_values_are_the_bytes_that_came():
    assert read(b'{"a": 1.50, "b": [1,  2]}') == {"a": b"1.50", "b": b"[1,  2]"}


def test_a_byte_order_mark_is_taken_off():
    assert read(b'\xef\xbb\xbf{"a":1}') == {"a": b"1"}


def test_nulls_at_the_top_are_gone_and_nulls_below_stay():
    assert read(b'{"a": null, "b": [null]}') == {"b": b"[null]"}


def test_of_a_duplicate_key_the_one_that_is_checked_is_the_one_that_is_sent():
    assert read(b'{"a":1,"a":2}') == {"a": b"2"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"[]",
        b'"{}"',
        b"1",
        b"null",
        b"{",
        b'{"a":NaN}',
        b'{"a":1}x',
        b"{'a':1}",
        b'{"a":"\xff"}',
        b"\xff\xfe{}",
    ],
)
def test_anything_but_an_object_in_utf8_is_refused(body):
    with pytest.raises(InvalidRequest):
        read(body)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize(("depth", "fine"), [(30, True), (31, True), (32, False), (2_000, False), (200_000, False)])
def test_thirty_two_levels_are_the_deepest(opening, depth, fine):
    closing = {"[": "]", '{"a":': "}"}[opening]
    body = f'{{"x": {opening * depth}1{closing * depth}}}'.encode()
    if fine:
        assert "x" in read(body)
    else:
        with pytest.raises(InvalidRequest, match="32 levels"):
            read(body)


def test_brackets_in_strings_and_many_neighbours_are_not_depth():
    assert read(json.dumps({"x": ["[" * 500, '"]' * 50, *[[1]] * 500]}).encode())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a":[' + b"1," * 200_001 + b"1]}", "more than 200000 values"),
        (b'{"a":1' + b"".join(b',"f%d":1' % number for number in range(1_000)) + b"}", "has 1001 fields"),
    ],
)
def test_a_crowd_of_values_is_refused_unread_because_reading_it_would_hold_up_everybody(body, said):
    with pytest.raises(InvalidRequest, match=said):
        read(body)


@pytest.mark.parametrize("kind", [Kind.LIST, Kind.OBJECT])
def test_a_list_or_an_object_of_very_many_things_is_refused_by_name(kind):
    table, values = table_of((Row("many", Does.RESOLVE, kind),)), [1] * 10_002
    raw = json.dumps(values if kind is Kind.LIST else {str(n): n for n in range(len(values))}).encode()
    with pytest.raises(InvalidRequest, match="many holds more than 10000 values"):
        typed_fields(read_body(b'{"many":' + raw + b"}", 10_000_000), table, [])


def test_a_long_prompt_and_a_large_picture_are_no_crowd():
    body = json.dumps({"prompt": "a, " * 33_000, "image": "A" * 5_000_000}).encode()
    assert read(body).keys() == {"prompt", "image"}


def test_a_body_over_the_limit_is_refused_before_it_is_read():
    with pytest.raises(BodyTooLarge, match="at most 10 are allowed"):
        read(b"x" * 11, most=10)


TABLE = table_of(ints(0, 9, "a"), text("t"), raws("image"), drops("gone"), drops("off", quiet=(False, 0)))


def typed(fields):
    told = []
    raws_ = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in fields.items()}
    return typed_fields(raws_, TABLE, told), told


def test_only_rows_of_the_table_pass_and_what_is_dropped_is_told():
    fields, told = typed({"a": "7", "gone": 1, "unknown": 2, "t": "x"})
    assert fields == {"a": 7, "t": "x"}
    assert told == ["gone (dropped)", "unknown (dropped)"]


def test_a_dropped_value_that_changes_nothing_is_not_told():
    assert typed({"off": False})[1] == []
    assert typed({"off": 0})[1] == []
    assert typed({"off": True})[1] == ["off (dropped)"]


def test_pictures_are_left_as_they_came():
    fields, _ = typed({"image": "abc"})
    assert bytes(fields["image"]) == b'"abc"'


def test_a_name_that_would_break_a_header_is_made_harmless_and_many_are_counted():
    _, told = typed({"a\r\nSet-Cookie: x": 1, "b,c": 1, "ü" * 500: 1} | {f"n{i}": 1 for i in range(100)})
    assert told[0] == "a??Set-Cookie: x (dropped)"
    assert told[1] == "b;c (dropped)"
    assert len(told) == 41
    assert told[-1] == "63 more fields (dropped)"


@pytest.mark.parametrize(
    ("row", "value", "result"),
    [
        *(
            (INT, "20", 20),
            (INT, 20.0, 20),
            (INT, "20.0", 20),
            (INT, True, 1),
            (INT, False, 0),
            (INT, " 7 ", 7),
            (INT, 12.5, 12),
            (INT, "12.5", 12),
            (INT, "", None),
        ),
        *((FLOAT, "1.5", 1.5), (FLOAT, 2, 2), (FLOAT, 2.0, 2), (FLOAT, "1e-3", 0.001)),
        *((BOOL, 1, True), (BOOL, 0, False), (BOOL, "true", True), (BOOL, "False", False), (BOOL, 1.0, True)),
        (TEXT, "abc", "abc"),
    ],
)
def test_what_real_clients_send_is_brought_to_its_type(row, value, result):
    got = coerced(row, value)
    assert (got, type(got)) == (result, type(result))


@pytest.mark.parametrize(
    ("row", "value"),
    [
        *(
            (INT, "many"),
            (INT, []),
            (INT, {}),
            (INT, 101),
            (INT, -2),
            (INT, 10**400),
            (INT, "9" * 400),
        ),
        *(
            (FLOAT, 1e308),
            (FLOAT, "nan"),
            (FLOAT, "inf"),
            (FLOAT, -0.1),
            (FLOAT, [1]),
            (BOOL, 2),
            (BOOL, "maybe"),
            (BOOL, []),
        ),
        *(
            (TEXT, 5),
            (TEXT, ["a"]),
            (TEXT, "toolong"),
            (Row("l", Does.PASS, Kind.LIST), {}),
            (Row("o", Does.PASS, Kind.OBJECT), [1]),
        ),
        (Row("c", Does.PASS, Kind.TEXT, high=50, choices=("Full", "Tiny")), "Remote"),
    ],
)
def test_what_has_the_wrong_type_or_an_impossible_value_is_refused_by_name(row, value):
    with pytest.raises(InvalidRequest) as caught:
        coerced(row, value)
    assert caught.value.field == row.name
    assert str(caught.value).startswith(row.name)


@pytest.mark.parametrize("value", ["/etc", "a\\b", "http://x", "c:x", "../x"])
def test_a_name_that_merely_passes_points_at_nothing(value):
    with pytest.raises(InvalidRequest, match="plain name"):
        coerced(Row("t", Does.PASS, Kind.TEXT, high=50), value)
    assert coerced(Row("t", Does.RESOLVE, Kind.TEXT, high=50), value) == value


def test_a_choice_is_spelled_as_the_backend_takes_it():
    assert coerced(Row("c", Does.PASS, Kind.TEXT, high=50, choices=("Full", "Tiny")), "tiny") == "Tiny"


def test_a_number_that_is_no_double_is_refused():
    with pytest.raises(InvalidRequest):
        decoded(msgspec.Raw(b"1e999"), "x")


def test_the_items_of_a_list_are_not_looked_into():
    assert [bytes(item) for item in raw_items(msgspec.Raw(b'["a", 1]'), "x")] == [b'"a"', b"1"]
    with pytest.raises(InvalidRequest):
        raw_items(msgspec.Raw(b"{}"), "x")


@given(st.floats() | st.integers() | st.text(max_size=20) | st.booleans())
def test_a_coerced_number_is_within_its_bounds_whatever_came(value):
    try:
        number = coerced(FLOAT, value)
    except InvalidRequest:
        return
    assert number is None or 0 <= number <= 10
