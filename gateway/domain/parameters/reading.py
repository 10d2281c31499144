"""From the bytes of a body to typed fields: the first step of shaping.

Nothing but `InvalidRequest` and `BodyTooLarge` comes out of here, whatever the bytes. Each field is parsed once and
what was checked is what is sent, so a duplicate key or an odd escape cannot say two things.
"""

from __future__ import annotations

import math
import re
from codecs import getincrementaldecoder
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.domain.errors import BodyTooLarge, InvalidRequest
from gateway.domain.parameters.context import adjustment
from gateway.domain.parameters.json_flaws import flaw_of
from gateway.domain.parameters.nesting import nests_deeper
from gateway.domain.parameters.table import TASK_ID, UNBOUNDED, Does, Kind, Row, Table, plain_number

_BOM = b"\xef\xbb\xbf"
_DEEPEST = 32
_MOST_TOLD = 40
# Reading costs time for each value, not for each byte, and all calls of a process wait meanwhile: 25 MB of fields that
# nobody knows took 6 s. SD.Next has 240 fields; a base64 text holds no comma, a prompt at most 100,000.
_MOST_COMMAS = 200_000
_MOST_FIELDS = 1_000
_MOST_ITEMS = 10_000
_QUIET_BYTES = 64
_SHOWN_CHARACTERS = 80
_PIECE_BYTES = 1 << 16
_LARGEST_EXACT = 2.0**53
_PLACE = re.compile(r"[/\\]|\w:\S")  # no name that merely passes may point at a file or a server
_BODY = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_VALUE = msgspec.json.Decoder()
_MANY = frozenset({Kind.LIST, Kind.OBJECT})
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


def read_body(body: bytes, max_bytes: int) -> dict[str, msgspec.Raw]:
    """The fields of a JSON object, one level deep, without nulls; values keep the bytes they came in."""
    if len(body) > max_bytes:
        raise BodyTooLarge(f"The body has {len(body)} bytes; at most {max_bytes} are allowed.")
    refuse_crowds(body)
    if body.startswith(_BOM):
        body = body[len(_BOM) :]
    fields = _fields_of(body)
    if nests_deeper(body, _DEEPEST):
        inner = (name for name, raw in fields.items() if nests_deeper(bytes(raw), _DEEPEST - 1))
        raise _too_deep(next(inner, ""))
    return {name: raw for name, raw in fields.items() if not _is_null(raw)}


def _fields_of(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        if not body.isascii():
            _check_utf8(body)
        fields = _BODY.decode(body)
    except RecursionError:
        raise _too_deep("") from None
    except msgspec.ValidationError:
        raise InvalidRequest("The body must be a JSON object.") from None
    except (ValueError, msgspec.MsgspecError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {flaw_of(body, error)}.") from None
    if len(fields) > _MOST_FIELDS:
        raise InvalidRequest(f"The body has {len(fields)} fields; at most {_MOST_FIELDS} are read.")
    return fields


def _check_utf8(body: bytes) -> None:
    """Raise UnicodeDecodeError for what is no UTF-8; in pieces, as text takes up to four times the memory."""
    decoder, view = getincrementaldecoder("utf-8")(), memoryview(body)
    for start in range(0, len(body), _PIECE_BYTES):
        decoder.decode(view[start : start + _PIECE_BYTES], final=start + _PIECE_BYTES >= len(body))


def refuse_crowds(body: bytes) -> None:
    """Raise InvalidRequest for a body of more values than any request needs; one pass in C."""
    if body.count(b",") > _MOST_COMMAS:
        raise InvalidRequest(f"The body holds more than {_MOST_COMMAS} values. Leave out what this call does not know.")


def typed_fields(raws: Mapping[str, msgspec.Raw], table: Table, told: list[str]) -> dict[str, Any]:
    """The fields that the table lets through, each of its row's type; images stay raw. Drops are added to `told`."""
    fields: dict[str, Any] = {}
    untold = 0
    for name, raw in raws.items():
        row = table.get(name)
        if row is not None and row.does is not Does.DROP:
            if row.kind in _MANY and bytes(raw).count(b",") > _MOST_ITEMS:
                raise InvalidRequest(f"{name} holds more than {_MOST_ITEMS} values.", name)
            if (value := _value_of(row, raw, told)) is not None:
                fields[name] = value
            continue
        if row is not None and _is_quiet(row, raw):
            continue
        if len(told) < _MOST_TOLD:
            told.append(adjustment(name, "dropped"))
        else:
            untold += 1
    if untold:
        told.append(adjustment(f"{untold} more fields", "dropped"))
    return fields


def _value_of(row: Row, raw: msgspec.Raw, told: list[str]) -> Any:  # noqa: ANN401
    """What a field holds, in its row's type; a fraction that was cut off is added to `told`."""
    if row.kind is Kind.RAW:
        return raw
    sent = decoded(raw, row.name)
    value = coerced(row, sent)
    if row.kind is Kind.INT and value is not None and value != _as_number(sent) and len(told) < _MOST_TOLD:
        told.append(adjustment(row.name, f"cut off from {sent}", value))
    return value


def decoded(raw: msgspec.Raw, field: str) -> Any:  # noqa: ANN401 - JSON is of any type
    """The value of a piece of JSON. Errors: `InvalidRequest` for a number that is no finite double, or bad text."""
    try:
        return _VALUE.decode(raw)
    except RecursionError:
        raise _too_deep(field) from None
    except (ValueError, msgspec.MsgspecError):
        raise InvalidRequest(f"{field} holds a number or a text that cannot be read.", field) from None


def raw_items(raw: msgspec.Raw, field: str) -> list[msgspec.Raw]:
    """The items of a JSON list, not looked into."""
    try:
        return _RAWS.decode(raw)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        raise InvalidRequest(f"{field} must be a list of base64 images.", field) from None


def coerced(row: Row, value: Any) -> Any:  # noqa: ANN401
    """The value in its row's type and bounds, or None for an empty text where a number belongs.

    Numeric strings become numbers, 0 and 1 booleans, booleans whole numbers; of a number that must be whole the
    fraction is cut off, as servers do; an id may be a number; an empty list is an empty object.
    """
    if row.kind is Kind.INT or row.kind is Kind.FLOAT:
        return _number(row, value)
    if row.kind is Kind.TEXT:
        return _text(row, value)
    if row.kind is Kind.BOOL:
        return _flag(row, value)
    if row.kind is Kind.OBJECT and value == []:
        return None  # servers take it for nothing, and real clients send it
    if (row.kind is Kind.LIST and not isinstance(value, list)) or (
        row.kind is Kind.OBJECT and not isinstance(value, dict)
    ):
        raise _wrong(row)
    return value


def _number(row: Row, value: Any) -> int | float | None:  # noqa: ANN401
    if isinstance(value, str):
        if not value.strip():
            return None  # real clients send "" for "not set"
        value = _parsed(row, value)
    number = _as_number(value)
    if number is None or not math.isfinite(number):
        raise _wrong(row)
    if row.kind is Kind.INT:
        number = float(math.trunc(number))
    if not row.low <= number <= row.high:
        raise InvalidRequest(f"{row.name} must be {_span(row)}.", row.name)
    if row.kind is Kind.INT:
        return int(value)
    return int(number) if number.is_integer() and abs(number) < _LARGEST_EXACT else number


def _as_number(sent: Any) -> float | None:  # noqa: ANN401 - any JSON
    """The number that was sent, as one or in a text."""
    try:
        return float(sent) if isinstance(sent, str | int | float) else None
    except (ValueError, OverflowError):
        return None


def _span(row: Row) -> str:
    """The bounds of a number in words and in full; a bound that is only the plan's to say is left out."""
    low, high = plain_number(row.low), plain_number(row.high)
    return f"at least {low}" if row.high == UNBOUNDED else f"between {low} and {high}"


def _parsed(row: Row, text: str) -> int | float:
    try:
        return float(text) if len(text) <= _QUIET_BYTES else math.nan
    except ValueError:
        raise _wrong(row) from None


def _text(row: Row, value: Any) -> str:  # noqa: ANN401
    if row.name == TASK_ID and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise _wrong(row)
    if len(value) > row.high:
        raise InvalidRequest(
            f"{row.name} has {len(value)} characters; at most {plain_number(row.high)} are allowed.", row.name
        )
    if row.does is Does.PASS and not row.choices and _PLACE.search(value):
        raise InvalidRequest(f"{row.name} must be a plain name, without slashes.", row.name)
    if not row.choices:
        return value
    for known in row.choices:
        if known.lower() == value.lower():
            return known
    raise InvalidRequest(f"{row.name} must be one of: {', '.join(row.choices)}.", row.name)


def _flag(row: Row, value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, str | int | float) else ""
    if word in _TRUE or word in _FALSE or word in ("1.0", "0.0"):
        return word in _TRUE or word == "1.0"
    raise _wrong(row)


def _wrong(row: Row) -> InvalidRequest:
    return InvalidRequest(f"{row.name} must be {row.kind.value}.", row.name)


def _is_quiet(row: Row, raw: msgspec.Raw) -> bool:
    if len(memoryview(raw)) > _QUIET_BYTES:
        return False
    try:
        value = _VALUE.decode(raw)
    except (ValueError, msgspec.MsgspecError):
        return False
    return any(value == quiet and isinstance(value, bool) == isinstance(quiet, bool) for quiet in row.quiet)


def _is_null(raw: msgspec.Raw) -> bool:
    return len(memoryview(raw)) == len(b"null") and bytes(raw) == b"null"


def _too_deep(field: str) -> InvalidRequest:
    short = field[:_SHOWN_CHARACTERS]
    return InvalidRequest(f"{short or 'The body'} nests deeper than {_DEEPEST} levels.", short)
