"""The pictures a request brings along: init images and mask. Only their first bytes are looked at."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.domain.errors import InvalidRequest
from gateway.domain.images import ImageHeader, checked_image
from gateway.domain.jobs import Operation
from gateway.domain.parameters.context import Draft
from gateway.domain.parameters.reading import raw_items

_MOST_INIT_IMAGES = 8
_EMPTY = b'""'


def check_pictures(draft: Draft) -> None:
    """`init_images` as a list of raw strings, `mask` raw; notes the first one's size and the bytes of all.

    Errors: `InvalidRequest` naming the field when there is none or one is no image, `BodyTooLarge` for its pixels.
    """
    if draft.operation is not Operation.IMG2IMG:
        return
    items = raw_items(draft.fields["init_images"], "init_images") if "init_images" in draft.fields else []
    if not items or len(items) > _MOST_INIT_IMAGES:
        raise InvalidRequest(f"init_images must hold 1 to {_MOST_INIT_IMAGES} base64 images.", "init_images")
    checked = [picture(draft, raw, f"init_images[{number}]") for number, raw in enumerate(items)]
    draft.fields["init_images"] = [raw for raw, _ in checked]
    draft.init_size = checked[0][1].width, checked[0][1].height
    mask: Any = draft.fields.pop("mask", None)
    if mask is not None and bytes(memoryview(mask)[: len(_EMPTY)]) != _EMPTY:
        draft.fields["mask"] = picture(draft, mask, "mask")[0]


def picture(draft: Draft, raw: msgspec.Raw, field: str) -> tuple[msgspec.Raw, ImageHeader]:
    """One checked picture, its bytes added to the draft's."""
    clean, header = checked_image(raw, field, draft.context.caps.input_pixels)
    draft.input_bytes += header.encoded_bytes
    return clean, header
