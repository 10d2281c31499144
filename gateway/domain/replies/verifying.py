"""Is the answer what was asked? 200 is not success: SD.Next answers 200 for failures, interrupts and other models."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.domain.catalogue.inventory import BackendInventory
from gateway.domain.catalogue.names import without_hash
from gateway.domain.images import header_of, image_bytes
from gateway.domain.jobs import Operation
from gateway.domain.masking import masked
from gateway.domain.parameters.context import Shaped, adjustment
from gateway.domain.parameters.sizes import is_masked_part
from gateway.domain.replies.blame import judge_error
from gateway.domain.replies.bounds import MOST_FURTHER_IMAGES, most_commas
from gateway.domain.replies.decoding import decoded, has_too_many_values
from gateway.domain.replies.infotext import last_line_of, names_agree, sampler_really_used
from gateway.domain.replies.verdicts import AttemptFailed, Delivered, Flaw, Verdict

_OK, _NOT_THERE = 200, 404
_PICTURES = ("init_images", "mask", "image")
_FORMAT = "png"  # what callers get, and what the gateway has set on every server
_SIDE_TOLERANCE = 8  # pixels: backends round sides of enlarged pictures to their own grid
_GRID_TOLERANCE = 32  # and of generated ones down to that of the checkpoint: 8 for most, up to 32
_SMALL_BASE64 = 20_000  # a black frame of any size that is generated packs into less
_MOST_UNPACKED = 64_000_000
_MOST_HTML = 20_000


class _Generated(msgspec.Struct):
    images: list[msgspec.Raw] | None = None
    info: str | None = None


class _Upscaled(msgspec.Struct):
    image: msgspec.Raw = msgspec.Raw()
    html_info: str | None = None


class _Captioned(msgspec.Struct):
    caption: str | None = None
    tags: str | None = None
    scores: dict[str, float] | None = None


_CAPTIONED = msgspec.json.Decoder(_Captioned)
_GENERATED = msgspec.json.Decoder(_Generated)
_UPSCALED = msgspec.json.Decoder(_Upscaled)


def verify(
    shaped: Shaped, backend: BackendInventory, status: int, body: bytes, *, interrupted_by_us: bool = False
) -> Verdict:
    """The verdict on a backend's whole answer.

    `interrupted_by_us`: the gateway interrupted or skipped this job for its caller; then what is there is delivered,
    also nothing, and nothing counts against the backend.
    """
    if status == _NOT_THERE and shaped.operation is Operation.CAPTION:  # an older server has no such route
        return AttemptFailed(Flaw.ERROR_STATUS, "it describes no pictures", signature="no captions")
    if status != _OK:
        verdict = judge_error(shaped.operation, status, body, tuple(n for n in _PICTURES if n in shaped.fields))
    elif body.count(b",") > most_commas(shaped):  # each value costs fifty times its bytes once it is read
        verdict = _failed(Flaw.UNREADABLE, "the answer holds more values than it can have")
    elif shaped.operation is Operation.UPSCALE:
        verdict = _verify_upscale(shaped, body)
    elif shaped.operation is Operation.CAPTION:
        verdict = _verify_caption(body)
    else:
        verdict = _verify_generation(shaped, backend, body, interrupted_by_us=interrupted_by_us)
    return _nothing() if interrupted_by_us and isinstance(verdict, AttemptFailed) else verdict


def _nothing() -> Delivered:
    return Delivered((), {}, interrupted=True)


def _failed(flaw: Flaw, said: str) -> AttemptFailed:
    return AttemptFailed(flaw, said, signature=flaw.value)


def _wrong_format(kind: str) -> AttemptFailed:
    return _failed(Flaw.WRONG_FORMAT, f"the pictures came as {kind.upper()}, not as PNG: its options are not right")


def _verify_generation(shaped: Shaped, backend: BackendInventory, body: bytes, *, interrupted_by_us: bool) -> Verdict:
    try:
        answer = _GENERATED.decode(body)
        info = msgspec.json.decode(answer.info) if answer.info else {}
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return _failed(Flaw.UNREADABLE, "the answer is not the JSON of a generation")
    if not isinstance(info, dict):
        return _failed(Flaw.UNREADABLE, "the info of the answer is not an object")
    images = answer.images or []
    texts, seeds = _list(info, "infotexts"), _list(info, "all_seeds")
    if len(images) == len(texts) >= max(len(seeds), shaped.images_asked):
        return _verify_pictures(shaped, backend, tuple(images), info)
    if not interrupted_by_us:
        flaw = Flaw.INCOMPLETE if images else Flaw.EMPTY
        return _failed(
            flaw, f"{len(images)} images and {len(texts)} descriptions came back, {shaped.images_asked} were asked for"
        )
    finished = _finished(images, shaped)
    verdict = _verify_pictures(shaped, backend, finished, info) if finished else _nothing()
    if not isinstance(verdict, Delivered):
        return verdict
    return Delivered(
        finished, _cut(info, len(finished)), size=verdict.size, interrupted=True, adjustments=verdict.adjustments
    )


def _verify_pictures(
    shaped: Shaped, backend: BackendInventory, images: tuple[msgspec.Raw, ...], info: Mapping[str, Any]
) -> Verdict:
    if len(images) > shaped.images_asked + MOST_FURTHER_IMAGES:
        return _failed(Flaw.UNREADABLE, f"{len(images)} images came back, {shaped.images_asked} were asked for")
    texts = _list(info, "infotexts")
    pairs = last_line_of(texts[0]) if texts and isinstance(texts[0], str) else {}
    said = pairs.get("Model", "")
    file = backend.model(shaped.model.plain_name, shaped.model.sha256) if shaped.model is not None else None
    if said and file is not None and not names_agree(said, file.base_name):
        return _failed(Flaw.WRONG_MODEL, "another model than the one asked for was used")
    headers = [header for image in images if (header := header_of(image)) is not None]
    if len(headers) < len(images):
        return _failed(Flaw.UNREADABLE, "an image of the answer is no image")
    if (other := next((header.kind for header in headers if header.kind != _FORMAT), "")) != "":
        return _wrong_format(other)
    sizes = [(header.width, header.height) for header in headers]
    right = [size for size in sizes if _has_right_size(shaped, size)]
    if len(right) < min(len(images), shaped.images_asked):  # others beside them are masks and annotations
        wrong = next(size for size in sizes if size not in right)
        return _failed(Flaw.WRONG_SIZE, f"an image has {wrong[0]}x{wrong[1]} pixels, not those asked for")
    used = sampler_really_used(shaped.sampler, pairs.get("Scheduler", ""))
    told: tuple[str, ...] = ()
    if used != shaped.sampler:
        info = {**info, "sampler_name": used}
        told = (adjustment("sampler_name", f"the model cannot use {shaped.sampler}", used),)
    certain = bool(said) and file is not None and not backend.shares_base_name(file)
    return Delivered(images, info, size=right[0], model_is_certain=certain, adjustments=told)


def _verify_upscale(shaped: Shaped, body: bytes) -> Verdict:
    try:
        answer = _UPSCALED.decode(body)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return _failed(Flaw.UNREADABLE, "the answer is not the JSON of an upscale")
    header = header_of(answer.image) if len(memoryview(answer.image)) else None
    if header is None:
        return _failed(Flaw.EMPTY, "no image came back")
    if header.kind != _FORMAT:
        return _wrong_format(header.kind)
    size = header.width, header.height
    if not _is_near(size, shaped.expected, _SIDE_TOLERANCE):
        return _failed(Flaw.WRONG_SIZE, f"the image has {size[0]}x{size[1]} pixels, not those asked for")
    return Delivered((answer.image,), {}, html_info=masked(answer.html_info or "", _MOST_HTML), size=size)


def _verify_caption(body: bytes) -> Verdict:
    try:
        answer = _CAPTIONED.decode(body)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return _failed(Flaw.UNREADABLE, "the answer is not the JSON of a caption")
    if not (answer.caption or answer.tags):
        return _failed(Flaw.EMPTY, "no words came back")
    words = {"caption": answer.caption, "tags": answer.tags, "scores": answer.scores}
    return Delivered((), {name: value for name, value in words.items() if value})


def is_loaded(shaped: Shaped, backend: BackendInventory, checkpoint: bytes) -> bool:
    """Whether an answer to `GET /checkpoint` shows the checkpoint this job asked for (by exact title)."""
    file = backend.model(shaped.model.plain_name, shaped.model.sha256) if shaped.model is not None else None
    return file is not None and shows_title(checkpoint, file.title)


def shows_title(checkpoint: bytes, title: str) -> bool:
    """Whether an answer to `GET /checkpoint` shows the checkpoint of this title."""
    value = decoded(checkpoint)
    if not isinstance(value, dict):
        return False
    # A title may have got its hash, or lost it, since the list was read: what precedes it must be equal.
    said = value.get("title") or value.get("name")
    return isinstance(said, str) and without_hash(said) == without_hash(title)


def is_empty(status: int, body: bytes) -> bool:
    """Whether an answer to a generation has no picture though it is 200, as of a poisoned checkpoint (observed)."""
    if status != _OK or has_too_many_values(body):
        return False
    try:
        return not _GENERATED.decode(body).images
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return False


def _list(info: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = info.get(key)
    return value if isinstance(value, list) else ()


def _has_right_size(shaped: Shaped, size: tuple[int, int]) -> bool:
    """Whether a generated picture has the size asked for; scripts make grids and borders of any size."""
    if "script_name" in shaped.fields:
        return True
    tolerance = _SIDE_TOLERANCE if shaped.fields.get("enable_hr") else _GRID_TOLERANCE
    # Where only the masked part is painted, a server that does not paste it back answers with that part.
    return _is_near(size, shaped.expected, tolerance) or (
        is_masked_part(shaped.fields) and _is_near(size, shaped.worked, tolerance)
    )


def _is_near(size: tuple[int, int], expected: tuple[int, int] | None, tolerance: int) -> bool:
    if expected is None:
        return True
    return all(abs(side - other) < tolerance for side, other in zip(size, expected, strict=True))


def _finished(images: list[msgspec.Raw], shaped: Shaped) -> tuple[msgspec.Raw, ...]:
    """The pictures without the black frame or grid SD.Next puts behind them when it is interrupted (observed)."""
    if images and _is_black(images[-1]):
        images = images[:-1]
    headers = [(image, header_of(image)) for image in images]
    whole = [image for image, header in headers if header and _has_right_size(shaped, (header.width, header.height))]
    return tuple(whole[: shaped.images_asked])


def _is_black(image: msgspec.Raw) -> bool:
    header = header_of(image)
    if header is None:
        return True  # nothing a caller could use
    if header.encoded_bytes > _SMALL_BASE64:
        return False
    if header.kind != _FORMAT:
        return False  # refused with the others
    return not any(_png_samples(image_bytes(image)))


def _png_samples(png: bytes) -> bytes:
    """The unpacked samples of a small PNG, with its row filters (0 in a black picture); `b"\\1"` when unreadable."""
    data, offset = b"", 8
    while offset + 8 <= len(png):
        size = int.from_bytes(png[offset : offset + 4], "big")
        if png[offset + 4 : offset + 8] == b"IDAT":
            data += png[offset + 8 : offset + 8 + size]
        offset += size + 12
    try:
        samples = zlib.decompressobj().decompress(data, _MOST_UNPACKED)
    except zlib.error:
        return b"\1"
    # Each row may say "same as the row above" (filter 1-4) and still be black: only the samples count, and the
    # filter bytes of a black picture are tiny numbers at the row starts.
    return samples.translate(None, b"\0\1\2\3\4") or b""


_PER_IMAGE = ("infotexts", "all_seeds", "all_subseeds", "all_prompts", "all_negative_prompts")


def _cut(info: Mapping[str, Any], count: int) -> dict[str, Any]:
    return {
        name: value[:count] if name in _PER_IMAGE and isinstance(value, list) else value for name, value in info.items()
    }
