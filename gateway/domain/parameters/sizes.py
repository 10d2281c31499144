"""Sizes of a generated picture: defaults, rounding, the resize rule of img2img, hires, and the caps on all of them.

SD.Next rounds sizes down to 8, turns 1-7 into 1024, ignores width and height in img2img unless `resize_mode` >= 1 (the
picture then has the init image's size, rounded up to 8), and does no hires at all without `hr_resize_mode`. Observed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gateway.domain.errors import InvalidRequest
from gateway.domain.jobs import Operation
from gateway.domain.parameters.context import Draft
from gateway.domain.upscalers import resolve_upscaler

DEFAULT_SIDE = 1024
SMALLEST_SIDE = 64
GRID = 8
"""Sides are multiples of this many pixels."""
_A1111_HIRES_SCALE, _A1111_HIRES_STRENGTH = 2.0, 0.75
_HIRES_FIELDS = (
    "hr_force", "hr_scale", "hr_resize_mode", "hr_resize_x", "hr_resize_y", "hr_resize_context", "hr_upscaler",
    "hr_second_pass_steps", "hr_denoising_strength", "hr_refiner_start", "hr_sampler_name",
)  # fmt: skip
_PLAIN_HIRES = ("Resize Lanczos", "Resize Bicubic", "Resize Nearest", "Lanczos", "Latent Nearest")
_USUAL_HIRES = (
    "Latent Nearest",
    "Latent Bilinear",
    "Resize Lanczos",
    "Resize Bicubic",
    "Latent",
)  # A1111's, or as good


def set_sizes(draft: Draft) -> None:
    """`width` and `height` as the backend will really use them. Error: a native img2img size below 64."""
    if draft.operation is Operation.IMG2IMG and draft.init_size is not None:
        _img2img_sizes(draft, draft.init_size)
    else:
        for name in ("width", "height"):
            _set_side(draft, name, _down(draft.fields.get(name, DEFAULT_SIDE)))
        for name in ("scale_by", "selected_scale_tab", "resize_mode", "resize_name", "resize_context"):
            draft.fields.pop(name, None)


def _img2img_sizes(draft: Draft, init: tuple[int, int]) -> None:
    fields = draft.fields
    scale = fields.pop("scale_by", 1)
    if fields.pop("selected_scale_tab", 0) == 1:
        for name, side in (("width", init[0]), ("height", init[1])):
            if name not in draft.forced:
                fields[name] = _at_least(side * scale)
                draft.tell(name, "from scale_by", fields[name])
    size = fields.get("width", init[0]), fields.get("height", init[1])
    if size == init and not fields.get("resize_mode"):
        if min(init) < SMALLEST_SIDE:
            raise InvalidRequest(
                f"The init image has {init[0]}x{init[1]} pixels; send width and height of at least {SMALLEST_SIDE}.",
                "width",
            )
        fields["width"], fields["height"] = init
        for name in ("resize_mode", "resize_name", "resize_context"):
            fields.pop(name, None)
        return
    for name, side in zip(("width", "height"), size, strict=True):
        _set_side(draft, name, _at_least(side))
    fields["resize_mode"] = fields.get("resize_mode") or 1


def worked_size(draft: Draft) -> tuple[int, int]:
    """The size of the picture of the first pass; without a resize that of the init image, rounded up."""
    width, height = draft.fields["width"], draft.fields["height"]
    if draft.operation is Operation.IMG2IMG and not draft.fields.get("resize_mode"):
        return _up(width), _up(height)
    return width, height


def final_size(draft: Draft) -> tuple[int, int]:
    """The size of the picture that comes back."""
    size = worked_size(draft)
    fields = draft.fields
    if is_masked_part(fields) and draft.init_size is not None:
        return draft.init_size
    if not fields.get("enable_hr"):
        return size
    if fields.get("hr_resize_x") and fields.get("hr_resize_y"):
        return fields["hr_resize_x"], fields["hr_resize_y"]
    scale = fields.get("hr_scale", 1)
    return _down(size[0] * scale), _down(size[1] * scale)


def is_masked_part(fields: Mapping[str, Any]) -> bool:
    """Whether only the masked part of an init image is painted: in the asked size, then pasted back into the image.

    SD.Next `processing_class.py`, `inpaint_full_res`.
    """
    return bool(fields.get("inpaint_full_res")) and "mask" in fields and fields.get("mask_apply_overlay") is not False


def set_hires(draft: Draft) -> None:
    """Hires as A1111 clients ask for it, in the words that work; without `enable_hr` all of its fields go."""
    fields = draft.fields
    if draft.operation is Operation.IMG2IMG and fields.get("enable_hr"):
        # A1111's img2img knows no hires, and SD.Next's gives the plain size in silence.
        fields.pop("enable_hr")
        draft.tell_loss("enable_hr", "enable_hr", "dropped: img2img has no second pass")
    if not fields.get("enable_hr"):
        for name in _HIRES_FIELDS:
            fields.pop(name, None)
        if "enable_hr" in draft.asked and "enable_hr" in draft.context.overrides.default:
            fields["enable_hr"] = False  # and not gone: it stands over the key's default
        return
    is_native = bool(fields.get("hr_resize_mode"))
    fields["hr_resize_mode"] = fields.get("hr_resize_mode") or 1
    _set_hires_target(draft)
    _set_hires_upscaler(draft)
    strength = fields.get("hr_denoising_strength") or fields.get("denoising_strength", _A1111_HIRES_STRENGTH)
    if not is_native and strength:
        fields["hr_force"] = True
        fields["hr_denoising_strength"] = strength
    if fields.get("hr_force"):
        fields["hr_second_pass_steps"] = fields.get("hr_second_pass_steps") or fields["steps"]


def _set_hires_target(draft: Draft) -> None:
    fields = draft.fields
    x, y = fields.get("hr_resize_x", 0), fields.get("hr_resize_y", 0)
    if not x and not y:
        fields.pop("hr_resize_x", None)
        fields.pop("hr_resize_y", None)
        fields["hr_scale"] = fields.get("hr_scale") or _A1111_HIRES_SCALE
        return
    width, height = worked_size(draft)
    fields["hr_resize_x"] = _at_least(x or y * width / height)
    fields["hr_resize_y"] = _at_least(y or x * height / width)
    fields.pop("hr_scale", None)


def _set_hires_upscaler(draft: Draft) -> None:
    fields, context = draft.fields, draft.context
    asked = fields.get("hr_upscaler") or _first_usable(draft, _USUAL_HIRES)
    if asked.strip().lower() == "none":
        asked = _first_usable(draft, _PLAIN_HIRES)  # SD.Next resizes only with a real upscaler
    upscaler = resolve_upscaler(
        asked, "hr_upscaler", context.catalogue, context.grants, context.operator.upscaler_aliases
    )
    if upscaler.name != fields.get("hr_upscaler"):
        draft.tell_change("hr_upscaler", f"resolved from {fields.get('hr_upscaler', 'nothing')}", upscaler.name)
    fields["hr_upscaler"] = upscaler.name
    draft.things.add(("upscalers", upscaler.name))


def _first_usable(draft: Draft, names: tuple[str, ...]) -> str:
    """The first of these upscalers that the pool has and this key may use, else the first."""
    known, grants = draft.context.catalogue.upscaler_index, draft.context.grants.upscalers
    return next((name for name in names if known.hits(name) and name in grants), names[0])


def set_resize_upscaler(draft: Draft) -> None:
    """`resize_name` of an img2img resize, in the pool's spelling."""
    asked, context = draft.fields.pop("resize_name", ""), draft.context
    if not asked:
        return
    found = resolve_upscaler(asked, "resize_name", context.catalogue, context.grants, context.operator.upscaler_aliases)
    if found.name != "None":
        draft.fields["resize_name"] = found.name
        draft.things.add(("upscalers", found.name))


def cap_sizes(draft: Draft) -> None:
    """No picture has more pixels than the plan allows, in the first pass or after hires. What shrinks is told."""
    cap = draft.context.caps.generated_pixels
    first = worked_size(draft)
    if first[0] * first[1] > cap:
        capped = _other_shrunk(draft, cap) or shrunk(first, cap)
        for name, value in zip(("width", "height"), capped, strict=True):
            draft.clamp(name, value)
        if draft.operation is Operation.IMG2IMG:
            draft.fields["resize_mode"] = draft.fields.get("resize_mode") or 1
    if draft.fields.get("enable_hr"):
        _cap_hires(draft, cap)


def _cap_hires(draft: Draft, cap: int) -> None:
    fields, size = draft.fields, worked_size(draft)
    most = min(draft.context.caps.resize_factor, math.sqrt(cap / (size[0] * size[1])))
    scale = fields.get("hr_scale", 0)
    if scale > most:
        draft.clamp("hr_scale", max(1.0, math.floor(most * 100) / 100))
    target = fields.get("hr_resize_x", 0), fields.get("hr_resize_y", 0)
    factor = draft.context.caps.resize_factor
    limits = _down(size[0] * factor), _down(size[1] * factor)
    allowed = min(target[0], limits[0]), min(target[1], limits[1])
    if allowed[0] * allowed[1] > cap:
        allowed = shrunk(allowed, cap)
    for name, value in zip(("hr_resize_x", "hr_resize_y"), allowed, strict=True):
        if name in fields:
            draft.clamp(name, value)


def _other_shrunk(draft: Draft, pixels: int) -> tuple[int, int] | None:
    """Of two sides a forced one keeps its length, the other gives way; None when that does not do."""
    width, height = _down(draft.fields["width"]), _down(draft.fields["height"])
    if ("width" in draft.forced) == ("height" in draft.forced):
        return None
    if "width" in draft.forced:
        height = _down(pixels / width)
    else:
        width = _down(pixels / height)
    return (width, height) if min(width, height) >= SMALLEST_SIDE else None


def shrunk(size: tuple[int, int], pixels: int) -> tuple[int, int]:
    """The largest size of about the same shape with at most so many pixels, in steps of 8, no side below 64."""
    scale = math.sqrt(pixels / (size[0] * size[1]))
    width, height = _at_least(size[0] * scale), _at_least(size[1] * scale)
    if width * height > pixels:  # the shorter side has hit the floor
        longest = max(SMALLEST_SIDE, _down(pixels / min(width, height)))
        width, height = min(width, longest), min(height, longest)
    return width, height


def _set_side(draft: Draft, name: str, side: int) -> None:
    """A side on the grid; one that was asked for otherwise is told."""
    before = draft.fields.get(name, side)
    draft.fields[name] = side
    if side != before:
        draft.tell_change(name, f"rounded {'down' if side < before else 'up'} from {before:g}", side)


def _down(side: float) -> int:
    return int(side) // GRID * GRID


def _up(side: int) -> int:
    return -(-side // GRID) * GRID


def _at_least(side: float) -> int:
    return max(SMALLEST_SIDE, _down(side))
