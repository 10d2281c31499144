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
