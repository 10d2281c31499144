"""The last step: the plan's caps and the key's own minimum and maximum, on the filled values. What changes is told."""

from __future__ import annotations

import math

from gateway.domain.errors import InvalidRequest
from gateway.domain.parameters.context import Draft
from gateway.domain.parameters.layers import TABLES
from gateway.domain.parameters.table import Kind

_STEP_FIELDS = ("steps", "hr_second_pass_steps", "refiner_steps", "detailer_steps")


def bound_by_key(draft: Draft) -> None:
    """The key's `minimum` and `maximum` on every field that has a value; the maximum wins over the minimum."""
    overrides, table = draft.context.overrides, TABLES[draft.operation]
    for bounds, pick in ((overrides.minimum, max), (overrides.maximum, min)):
        for name, bound in bounds.items():
            value, row = draft.fields.get(name), table.get(name)
            if row is None or row.kind not in (Kind.INT, Kind.FLOAT) or not isinstance(value, int | float):
                continue
            limit = _whole(bound, up=pick is max) if row.kind is Kind.INT else bound
            _set(draft, name, pick(value, limit))


def cap_steps(draft: Draft) -> None:
    """No pass has more steps than the plan allows."""
    for name in _STEP_FIELDS:
        if name in draft.fields:
            _set(draft, name, min(draft.fields[name], draft.context.caps.steps))
    timesteps = draft.fields.get("schedulers_timesteps", "")
    if timesteps and timesteps.count(",") >= draft.context.caps.steps:
        raise InvalidRequest(
            f"schedulers_timesteps has more entries than the {draft.context.caps.steps} steps allowed.",
            "schedulers_timesteps",
        )


def cap_images(draft: Draft) -> None:
    """`batch_size` x `n_iter` stays within the plan; the number of batches gives way first."""
    most, batch, batches = draft.context.caps.images_per_call, draft.fields["batch_size"], draft.fields["n_iter"]
    if batch * batches <= most:
        return
    batch = min(batch, most)
    _set(draft, "n_iter", max(1, min(batches, most // batch)))
    _set(draft, "batch_size", batch)


def _set(draft: Draft, name: str, value: float) -> None:
    before = draft.fields[name]
    if value != before:
        draft.fields[name] = value
        draft.tell_change(
            name, f"clamped from {before:g}" if isinstance(before, float) else f"clamped from {before}", value
        )


def _whole(bound: float, *, up: bool) -> int:
    return math.ceil(bound) if up else math.floor(bound)
