"""The pictures a request brings along: init images and mask. Their structure is checked, no pixel is decoded."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.domain.errors import InvalidRequest, refuse_all, without_frames
from gateway.domain.images import ImageHeader, checked_image
from gateway.domain.jobs import Operation
from gateway.domain.parameters.context import Draft
from gateway.domain.parameters.reading import raw_items

_MOST_INIT_IMAGES = 8
_EMPTY = b'""'


def check_pictures(draft: Draft) -> None:
    """`init_images` as a list of raw strings, `mask` raw; notes the first one's size and the bytes of all.

    Errors: `InvalidRequest` naming every picture that is none, or the field when there are none; `BodyTooLarge` for the
    pixels of one.
    """
    if draft.operation is not Operation.IMG2IMG:
        return
    items = raw_items(draft.fields["init_images"], "init_images") if "init_images" in draft.fields else []
    if not items or len(items) > _MOST_INIT_IMAGES:
        raise InvalidRequest(f"init_images must hold 1 to {_MOST_INIT_IMAGES} base64 images.", "init_images")
    mask: Any = draft.fields.pop("mask", None)
    if mask is not None and bytes(memoryview(mask)[: len(_EMPTY)]) == _EMPTY:
        mask = None
    named = [(f"init_images[{number}]", raw) for number, raw in enumerate(items)]
    checked, refusals = [], []
    for field, raw in [*named, *((("mask", mask),) if mask is not None else ())]:
        try:
            checked.append(picture(draft, raw, field))
        except InvalidRequest as refusal:
            refusals.append(without_frames(refusal))
    refuse_all(refusals)
    draft.fields["init_images"] = [raw for raw, _ in checked[: len(items)]]
    draft.init_size = checked[0][1].width, checked[0][1].height
    if mask is not None:
        draft.fields["mask"] = checked[-1][0]


def picture(draft: Draft, raw: msgspec.Raw, field: str) -> tuple[msgspec.Raw, ImageHeader]:
    """One checked picture, its bytes added to the draft's; what is not used of it is told."""
    clean, header = checked_image(raw, field, draft.context.caps.input_pixels)
    draft.input_bytes += header.encoded_bytes
    for note in header.notes:
        draft.tell(field, note)
    return clean, header
