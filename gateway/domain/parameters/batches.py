"""A batch of upscales (extra-batch-images), taken apart into single ones; all of it is checked before any is sent."""

from __future__ import annotations

import msgspec

from gateway.domain.errors import InvalidRequest, refuse_all, without_frames
from gateway.domain.images import checked_image
from gateway.domain.jobs import Operation
from gateway.domain.parameters.context import ShapingContext
from gateway.domain.parameters.reading import read_body
from gateway.domain.parameters.shaping import shape

_LIST = "imageList"
_OBJECTS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def single_bodies(body: bytes, context: ShapingContext) -> list[bytes]:
    """The bodies of the single upscales that a batch asks for.

    Errors: `InvalidRequest` naming every picture that is none (`imageList[2]`), and whatever `shape` raises for a
    single one.
    """
    fields = read_body(body or b"{}", context.caps.body_bytes)
    pictures = _pictures(fields.pop(_LIST, msgspec.Raw(b"[]")), context.caps.images_per_call)
    refusals = []
    for number, picture in enumerate(pictures):
        try:
            checked_image(picture, f"{_LIST}[{number}]", context.caps.input_pixels)
        except InvalidRequest as refusal:
            refusals.append(without_frames(refusal))
    refuse_all(refusals)
    bodies = [msgspec.json.encode({**fields, "image": picture}) for picture in pictures]
    shape(Operation.UPSCALE, bodies[0], context)  # what is wrong beside the pictures is wrong for all
    return bodies


def _pictures(raw: msgspec.Raw, most: int) -> list[msgspec.Raw]:
    try:
        entries = _OBJECTS.decode(raw)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        raise InvalidRequest(f'{_LIST} must be a list of objects: {{"data": "base64"}}.', _LIST) from None
    if not 1 <= len(entries) <= most:
        raise InvalidRequest(f"{_LIST} must hold 1 to {most} pictures for this key.", _LIST)
    return [entry.get("data", msgspec.Raw(b"null")) for entry in entries]
