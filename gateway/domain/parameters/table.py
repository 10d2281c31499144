"""The policy: one row for each field a caller may send. A field that is in no row is dropped and told.

`PASS` goes on as it is, `CAP` is bounded by the plan and the key, `PRICE` also counts into the cost, `RESOLVE` is a
name looked up in the catalogue (or a field built from several), `IMAGE` holds pictures, `DROP` never goes on.
Types and defaults: the request schema of SD.Next. Bounds: what SD.Next can use; outside is 422, not clamped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

UNBOUNDED = 1e9  # a bound that only the plan, the key and the pool know better
TASK_ID = "force_task_id"


def plain_number(value: float) -> str:
    """A number in full: 4294967295, not 4.29497e+09."""
    return str(int(value)) if value == int(value) else str(value)


class Does(Enum):
    """What happens to a field."""

    PASS = "pass"  # noqa: S105 - a policy, not a password
    CAP = "cap"
    PRICE = "price"
    RESOLVE = "resolve"
    IMAGE = "image"
    DROP = "drop"


class Kind(Enum):
    """The type of a value; RAW stays JSON (images), ANY is not looked at (dropped fields)."""

    TEXT = "a string"
    INT = "a whole number"
    FLOAT = "a number"
    BOOL = "true or false"
    LIST = "a list"
    OBJECT = "an object"
    RAW = "a base64 image"
    ANY = "anything"


@dataclass(frozen=True, slots=True)
class Row:
    """The policy of one field. `low`/`high`: bounds of a number, or `high` the most characters of a text.

    `choices`: the only texts allowed, compared in any case. `quiet`: values of a dropped field that go untold,
    because dropping them changes nothing.
    """

    name: str
    does: Does
    kind: Kind = Kind.ANY
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()
    quiet: tuple[object, ...] = ()


Table = Mapping[str, Row]


def table_of(*groups: Iterable[Row]) -> Table:
    """Rows by field name."""
    return {row.name: row for group in groups for row in group}


def text(*names: str, most: int = 100, does: Does = Does.PASS) -> tuple[Row, ...]:
    """Rows of text fields of at most `most` characters."""
    return tuple(Row(name, does, Kind.TEXT, high=most) for name in names)


def choice(name: str, *choices: str) -> tuple[Row, ...]:
    """A row of a text field with fixed values."""
    return (Row(name, Does.PASS, Kind.TEXT, high=100, choices=choices),)


def ints(low: int, high: int, *names: str, does: Does = Does.PASS) -> tuple[Row, ...]:
    """Rows of whole numbers from `low` to `high`."""
    return tuple(Row(name, does, Kind.INT, low, high) for name in names)


def floats(low: float, high: float, *names: str, does: Does = Does.PASS) -> tuple[Row, ...]:
    """Rows of numbers from `low` to `high`."""
    return tuple(Row(name, does, Kind.FLOAT, low, high) for name in names)


def flags(*names: str, does: Does = Does.PASS) -> tuple[Row, ...]:
    """Rows of booleans."""
    return tuple(Row(name, does, Kind.BOOL) for name in names)


def lists(*names: str, does: Does) -> tuple[Row, ...]:
    """Rows of lists."""
    return tuple(Row(name, does, Kind.LIST) for name in names)


def objects(*names: str, does: Does) -> tuple[Row, ...]:
    """Rows of objects."""
    return tuple(Row(name, does, Kind.OBJECT) for name in names)


def raws(*names: str) -> tuple[Row, ...]:
    """Rows of image fields."""
    return tuple(Row(name, Does.IMAGE, Kind.RAW) for name in names)


def drops(*names: str, quiet: tuple[object, ...] = ()) -> tuple[Row, ...]:
    """Rows of fields that never go on; `quiet` values need not be told."""
    return tuple(Row(name, Does.DROP, quiet=quiet) for name in names)
