"""The last step: the plan's caps and the key's own minimum and maximum, on the filled values. What changes is told."""

from __future__ import annotations

import math

from gateway.domain.catalogue.names import folded
from gateway.domain.errors import InvalidRequest
from gateway.domain.jobs import Operation
from gateway.domain.parameters.context import Draft
from gateway.domain.parameters.layers import TABLES
from gateway.domain.parameters.sizes import GRID, SMALLEST_SIDE
from gateway.domain.parameters.table import Kind
from gateway.domain.samplers import DEFAULT, LEAST_STEPS

_STEP_FIELDS = ("steps", "hr_second_pass_steps", "refiner_steps", "detailer_steps")
_SIDES = frozenset({"width", "height", "hr_resize_x", "hr_resize_y"})


def bound_by_key(draft: Draft) -> None:
    """The key's and the pool's `minimum` and `maximum` on every field that has a value.

    The pool wins over the key, a maximum over a minimum.
    """
    key, pool, table, fields = draft.context.overrides, draft.context.operator, TABLES[draft.operation], draft.fields
    for bounds, pick in ((key.minimum, max), (pool.minimum, max), (key.maximum, min), (pool.maximum, min)):
        for name, bound in bounds.items():
            value, row = fields.get(name), table.get(name)
            if row is None or row.kind not in (Kind.INT, Kind.FLOAT) or not math.isfinite(bound) or value is None:
                continue
            limit = _limit(name, row.kind, bound, up=pick is max)
            draft.clamp(name, pick(value, limit))
    if draft.operation is Operation.IMG2IMG and {"width", "height"} & draft.clamped.keys():
        _resize_to_grid(draft)


def _limit(name: str, kind: Kind, bound: float, *, up: bool) -> float:
    step = GRID if name in _SIDES else 1
    if kind is Kind.FLOAT:
        return bound
    whole = (math.ceil(bound / step) if up else math.floor(bound / step)) * step
    return max(SMALLEST_SIDE, whole) if name in _SIDES else whole


def _resize_to_grid(draft: Draft) -> None:
    """A picture that is no longer of the init image's size has to be resized, and then its sides are multiples of 8."""
    draft.fields["resize_mode"] = draft.fields.get("resize_mode") or 1
    for name in ("width", "height"):
        draft.clamp(name, max(SMALLEST_SIDE, draft.fields[name] // GRID * GRID))


def cap_steps(draft: Draft) -> None:
    """No pass has more steps than the plan allows."""
    most = draft.context.caps.steps
    for name in _STEP_FIELDS:
        if name in draft.fields:
            draft.clamp(name, min(draft.fields[name], most))
    if draft.fields.get("schedulers_timesteps", "").count(",") >= most:
        raise InvalidRequest(f"schedulers_timesteps has more entries than the {most} allowed.", "schedulers_timesteps")


def raise_steps(draft: Draft) -> None:
    """No pass has fewer steps than its sampler needs; where as many are not allowed, the checkpoint's own sampler goes.

    With fewer the answer has no picture, which says nothing about the backend.
    """
    fields = draft.fields
    for name in _STEP_FIELDS:
        field = "hr_sampler_name" if name == "hr_second_pass_steps" else "sampler_name"
        sampler = fields.get(field, fields["sampler_name"])
        least = LEAST_STEPS.get(folded(sampler), 1)
        if not 0 < fields.get(name, 0) < least:
            continue
        if name not in draft.forced:
            draft.clamp(name, least)
            bound_by_key(draft)
            cap_steps(draft)
        if fields[name] < least:
            fields[field] = DEFAULT
            draft.tell_change(field, f"{sampler} needs {least} steps", DEFAULT)


def cap_images(draft: Draft) -> None:
    """`batch_size` x `n_iter` stays within the plan; the number of batches gives way first."""
    most, batch, batches = draft.context.caps.images_per_call, draft.fields["batch_size"], draft.fields["n_iter"]
    if batch * batches <= most:
        return
    batch = min(batch, most)
    draft.clamp("n_iter", max(1, min(batches, most // batch)))
    draft.clamp("batch_size", batch)
