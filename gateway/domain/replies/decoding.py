"""The JSON of a backend's small answers: what it says of itself, not what it makes."""

from __future__ import annotations

from typing import Any

import msgspec

MOST_VALUES = 400_000


def has_too_many_values(body: bytes) -> bool:
    """Whether it has more values than any list: each costs fifty times its bytes once it is read."""
    return body.count(b",") > MOST_VALUES


def decoded(body: bytes) -> Any:  # noqa: ANN401 - JSON of a backend
    """A backend's JSON, None if it is none (also text that is not UTF-8) or has more values than any list."""
    if has_too_many_values(body):
        return None
    try:
        return msgspec.json.decode(body)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None
