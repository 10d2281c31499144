"""The stages of shaping an upscale (extra-single-image)."""

from __future__ import annotations

import math

from gateway.domain.catalogue.granted import any_granted
from gateway.domain.catalogue.names import folded
from gateway.domain.errors import Forbidden, InvalidRequest
from gateway.domain.parameters.context import Draft
from gateway.domain.parameters.pictures import picture
from gateway.domain.upscalers import NONE, resolve_upscaler

_DEFAULT_FACTOR, _DEFAULT_SIDE = 2, 512
_TO_SIZE = 1
_LATENT = "latent"


def check_image(draft: Draft) -> None:
    """The picture to upscale, and whether this key may upscale at all: it must have an image model."""
    if not any_granted(draft.context.catalogue, draft.context.grants):
        raise Forbidden(
            "This key may use no image model, and upscaling needs at least one. Ask for a model to be granted."
        )
    raw = draft.fields.get("image")
    if raw is None:
        raise InvalidRequest("image is missing: send one base64 image.", "image")
    draft.fields["image"], header = picture(draft, raw, "image")
    draft.init_size = header.width, header.height


def choose_upscalers(draft: Draft) -> None:
    """`upscaler_1` and `upscaler_2` in the pool's spelling. Error: unknown, or only good for hires.

    Without any the picture comes back in its size, as from A1111, whose own clients ask so; that is told.
    """
    if not {"upscaler_1", "upscaler_2"} & draft.fields.keys():
        draft.tell("upscaler_1", "none was named: the size stays", NONE)
    context = draft.context
    for name in ("upscaler_1", "upscaler_2"):
        asked = draft.fields.pop(name, NONE)
        found = resolve_upscaler(asked, name, context.catalogue, context.grants, context.operator.upscaler_aliases)
        if folded(found.name).startswith(_LATENT):
            raise InvalidRequest(f'{name}: "{found.name}" works only as hr_upscaler. Name another one.', name)
        if found.name not in (asked, NONE):
            draft.tell_change(name, f"resolved from {asked}", found.name)
        if found.name != NONE:
            draft.things.add(("upscalers", found.name))
        if found.name != NONE or name == "upscaler_1":
            draft.fields[name] = found.name
    if "upscaler_2" not in draft.fields:
        draft.fields.pop("extras_upscaler_2_visibility", None)


def set_target(draft: Draft) -> None:
    """The target size, filled and within the plan: by factor (`resize_mode` 0) or by width and height (1)."""
    fields = draft.fields
    if fields.get("resize_mode", 0) not in (0, _TO_SIZE):
        raise InvalidRequest("resize_mode must be 0 (by factor) or 1 (to a size).", "resize_mode")
    if fields.get("resize_mode") == _TO_SIZE:
        fields.pop("upscaling_resize", None)
        fields.setdefault("upscaling_resize_w", _DEFAULT_SIDE)
        fields.setdefault("upscaling_resize_h", _DEFAULT_SIDE)
        fields.setdefault("upscaling_crop", True)
    else:
        fields["resize_mode"] = 0
        for name in ("upscaling_resize_w", "upscaling_resize_h", "upscaling_crop"):
            fields.pop(name, None)
        fields.setdefault("upscaling_resize", _DEFAULT_FACTOR)


def cap_target(draft: Draft) -> None:
    """The picture that comes back stays within the plan's pixels and factor."""
    fields, caps = draft.fields, draft.context.caps
    width, height = draft.init_size or (1, 1)
    most = min(caps.resize_factor, math.sqrt(caps.upscaled_pixels / (width * height)))
    if fields["resize_mode"] == 0:
        factor = fields["upscaling_resize"]
        if factor > most:
            draft.clamp("upscaling_resize", max(1, math.floor(most * 100) / 100))
        return
    target = fields["upscaling_resize_w"], fields["upscaling_resize_h"]
    wanted = max(target[0] / width, target[1] / height)  # the factor the backend scales by before it crops
    if wanted > most:
        for name, side in zip(("upscaling_resize_w", "upscaling_resize_h"), target, strict=True):
            draft.clamp(name, max(1, math.floor(side * most / wanted)))


def target_size(draft: Draft) -> tuple[int, int]:
    """The size of the picture that comes back; the original's when no upscaler is used."""
    width, height = draft.init_size or (1, 1)
    fields = draft.fields
    if fields["upscaler_1"] == NONE and "upscaler_2" not in fields:
        return width, height
    if fields["resize_mode"] == 0:
        return int(width * fields["upscaling_resize"]), int(height * fields["upscaling_resize"])
    target = fields["upscaling_resize_w"], fields["upscaling_resize_h"]
    if fields["upscaling_crop"]:
        return target
    factor = max(target[0] / width, target[1] / height)
    return int(width * factor), int(height * factor)
