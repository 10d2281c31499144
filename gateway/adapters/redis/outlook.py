"""The forecast as it lies in Redis: one hash, written by `foretell.lua`; its fields are named in `prelude.lua`."""

from __future__ import annotations

import msgspec

from gateway.domain.limits import MICROSECONDS
from gateway.domain.scheduling import Forecast, Prospect

JOB = "j:"


def words_of(forecast: Forecast) -> list[str | bytes]:
    """The hash's fields, each followed by its value."""
    words: list[str | bytes] = []
    for job_id, told in forecast.jobs.items():
        line = (told.position, round(told.starts_at * MICROSECONDS), told.why)
        words += (f"{JOB}{job_id}", msgspec.json.encode(line))
    for tenant_id, starts_at in forecast.tenants.items():
        words += (f"t:{tenant_id}", str(round(starts_at * MICROSECONDS)))
    for checkpoint, wait_s in forecast.models.items():
        words += (f"c:{checkpoint}", str(round(wait_s * MICROSECONDS)))
    if forecast.other_s is not None:
        words += ("other", str(round(forecast.other_s * MICROSECONDS)))
    return words


def prospect_of(value: bytes) -> Prospect:
    """One job's value."""
    position, starts_us, why = msgspec.json.decode(value, type=tuple[int, int, str])
    return Prospect(position, starts_us / MICROSECONDS, why)
