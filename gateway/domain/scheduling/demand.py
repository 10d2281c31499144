"""How often each checkpoint is asked for, in jobs a second, with the past fading exponentially. Pure and mutable."""

from __future__ import annotations

import math
from collections.abc import Mapping


class AskedFor:
    """The rate of each checkpoint; `memory_s` is how far back it looks."""

    def __init__(self, memory_s: float, seen: Mapping[str, tuple[float, float]] | None = None) -> None:
        self._memory_s = memory_s
        self._seen: dict[str, tuple[float, float]] = dict(seen or {})

    def asked(self, checkpoint: str, now: float, share: float = 1.0) -> None:
        """One more job wants it; `share` below 1 for a tenant that has had more than others."""
        self._seen[checkpoint] = (self.rate(checkpoint, now) + share / self._memory_s, now)

    def rate(self, checkpoint: str, now: float) -> float:
        """Jobs a second."""
        rate, at = self._seen.get(checkpoint, (0.0, now))
        return rate * math.exp(min(0.0, at - now) / self._memory_s)

    def copy(self) -> AskedFor:
        """The same memory, to change on its own."""
        return AskedFor(self._memory_s, self._seen)

    def dump(self) -> dict[str, tuple[float, float]]:
        """checkpoint -> (jobs a second, when), for the constructor."""
        return dict(self._seen)
