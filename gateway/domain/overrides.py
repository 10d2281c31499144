"""Parameters that a key forces, defaults or forbids: applied before anything else is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Overrides:
    """`default` goes under the request, `force` over it, `forbid` is removed; values are plain JSON.

    `minimum` and `maximum` bound numbers by parameter name and are applied last, as caps.
    """

    force: Mapping[str, Any] = field(default_factory=dict)
    default: Mapping[str, Any] = field(default_factory=dict)
    forbid: frozenset[str] = frozenset()
    minimum: Mapping[str, float] = field(default_factory=dict)
    maximum: Mapping[str, float] = field(default_factory=dict)


def laid_over(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `top` over it; objects are merged key by key, everything else is replaced whole."""
    merged = dict(base)
    for name, value in top.items():
        below = merged.get(name)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[name] = laid_over(below, value) if both else value  # type: ignore[arg-type]
    return merged
