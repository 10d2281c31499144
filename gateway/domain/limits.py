"""Rates and quota windows as pure functions: what the scripts in Redis do, and what `explain` says of it.

Times are whole microseconds since the epoch, as the scripts count them: integers, so both sides agree to the last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from gateway.domain.usage import Window

MICROSECONDS = 1_000_000
DAY_US = 86_400 * MICROSECONDS
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Fits:
    """A call that fits. `arrival_us` is the new theoretical arrival time to be kept, `remaining` how many more fit at
    once now, `reset_us` how long until the whole burst is back.
    """

    arrival_us: int
    remaining: int
    reset_us: int


@dataclass(frozen=True, slots=True)
class TooSoon:
    """A call that does not fit; it fits after `retry_after_us`, > 0. Nothing is to be kept."""

    retry_after_us: int


def interval_us(per_minute: float) -> int:
    """Microseconds between two calls at this rate, at least 1. Raises ValueError for a rate that is not positive."""
    if not per_minute > 0:
        raise ValueError(f"A rate must be more than 0 a minute, not {per_minute}.")
    return max(1, round(60 * MICROSECONDS / per_minute))


def decide_rate(kept_arrival_us: int, now_us: int, every_us: int, burst: int) -> Fits | TooSoon:
    """Whether one more call fits: GCRA with `kept_arrival_us` as the last kept arrival time, 0 where none is kept.

    It fits when the arrival time after it is at most `burst` intervals ahead of now (ITU-T I.371, the virtual
    scheduling form).
    """
    arrival_us = max(kept_arrival_us, now_us) + every_us
    early_us = arrival_us - burst * every_us - now_us
    if early_us > 0:
        return TooSoon(early_us)
    return Fits(arrival_us, -early_us // every_us, arrival_us - now_us)


def window_of(window: Window, now_us: int) -> tuple[int, int]:
    """The window that holds `now_us`: its first day and the day after its last, in days since 1970-01-01, UTC."""
    today = now_us // DAY_US
    if window is Window.DAY:
        return today, today + 1
    first = (_EPOCH + timedelta(days=today)).replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return (first - _EPOCH).days, (following - _EPOCH).days


def retry_after_window_us(window: Window, now_us: int) -> int:
    """Microseconds until the window that holds `now_us` ends and its quota begins anew; > 0."""
    return window_of(window, now_us)[1] * DAY_US - now_us
