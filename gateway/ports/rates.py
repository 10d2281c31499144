"""How often somebody may call, and what is left of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """A GCRA limit: `per_minute` calls on the long run, `burst` at once. `subject` names who is limited."""

    subject: str
    per_minute: float
    burst: int


@dataclass(frozen=True, slots=True)
class RateState:
    """What is left of the tightest rate: calls that fit at once now, and seconds until all of the burst is back."""

    remaining: int
    reset_s: float
