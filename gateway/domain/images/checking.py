"""Whether a base64 image in a JSON string may be sent on: what it is, how large, and whether all decoders agree on it.

PNG, JPEG and WebP are walked through from their first part to their last; no pixel is decoded. What is checked is what
is sent: the text is canonical base64, and what stands behind the end of the image is cut off. URLs, paths and
`upload:` references are refused: a backend would read its own disk or a stranger's upload. Decision 0052.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass

import msgspec

from gateway.domain.errors import BodyTooLarge, InvalidRequest
from gateway.domain.images.base64_text import EncodedBytes, NotBase64, as_json, canonical, decoded
from gateway.domain.images.exif import UPRIGHT
from gateway.domain.images.jpeg import SIGNATURE as JPEG
from gateway.domain.images.jpeg import jpeg_structure
from gateway.domain.images.png import SIGNATURE as PNG
from gateway.domain.images.png import png_structure
from gateway.domain.images.structure import Malformed, Structure
from gateway.domain.images.webp import is_webp, webp_structure

_HEAD_BYTES = 32
_PADDING = b"\0\r\n"
_MOST_PADDING = 16
_TAIL_BYTES = 4_096
_PCD_OFFSET, _PCD = 2_048, b"PCD_"
_FLI_TYPES, _FLI_FLAGS = (b"\x11\xaf", b"\x12\xaf"), (b"\0\0", b"\3\0")
_SPIDER_TYPES = (b"\0\0\x80\x3f", b"\x3f\x80\0\0")  # 1.0 in either byte order
_FTYP = b"ftyp"
# What any reader on a backend might take for a picture, by its first bytes.
_SIGNATURES = (
    b"\x89PNG", JPEG, b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"8BPS", b"\0\0\1\0",
    b"\0\0\2\0", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51", b"DDS ", b"qoif", b"\x0a\5", b"P1", b"P2", b"P3", b"P4", b"P5",
    b"P6", b"Pf",
)  # fmt: skip
_TEXT_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """An image's format and size in pixels. `encoded_bytes` is the length of the base64 text, for byte budgets.

    `notes`: what a caller is told of it, each to stand in brackets behind the field's name.
    """

    kind: str
    width: int
    height: int
    encoded_bytes: int
    notes: tuple[str, ...] = ()

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


def checked_image(raw: msgspec.Raw, field: str, max_pixels: int) -> tuple[msgspec.Raw, ImageHeader]:
    """The image as it may be sent on, and its header.

    The JSON string comes back untouched if it is canonical (see `canonical`) and ends where the image does. Errors
    name `field`: `InvalidRequest` for anything but a whole base64 PNG, JPEG or WebP, `BodyTooLarge` above
    `max_pixels`.
    """
    try:
        raw, encoded = canonical(raw)
        structure = _structure(encoded)
        notes = _notes(structure)
        if _ends_elsewhere(encoded, structure):
            raw, encoded = as_json(encoded.cut(structure.end))
            notes += ("what stood behind its end is left out",)
    except (NotBase64, Malformed) as error:
        raise InvalidRequest(
            f"{field} must be a PNG, JPEG or WebP image as base64 or a data URL: {error}.", field
        ) from None
    header = ImageHeader(structure.kind, structure.width, structure.height, encoded.text_characters, notes)
    if header.pixels > max_pixels:
        raise BodyTooLarge(
            f"{field} has {header.width}x{header.height} pixels; at most {max_pixels} in all are allowed. "
            "Send a smaller image."
        )
    return raw, header


def header_of(raw: msgspec.Raw) -> ImageHeader | None:
    """The header of a backend's image (canonical base64, bare or as a data URL); None when it is no whole image.

    A JPEG's pixels are not looked through: its size is in front of them, and that it ends is seen at its end.
    """
    try:
        clean, encoded = canonical(raw)
        if clean is not raw:
            return None
        structure = _structure(encoded, scan=False)
    except (NotBase64, Malformed):
        return None
    return ImageHeader(structure.kind, structure.width, structure.height, encoded.text_characters)


def image_bytes(raw: msgspec.Raw) -> bytes:
    """The decoded image; only for the few small ones that must be looked into. `b""` when it is not base64."""
    try:
        return decoded(raw)
    except NotBase64:
        return b""


def may_be_image(text: str) -> bool:
    """Whether a backend that decodes this text, as leniently as SD.Next does, might find a picture in it."""
    if text[:5].lower() == "data:":
        return True
    start = "".join(c for c in text if c.isascii() and (c.isalnum() or c in "+/"))[:_TEXT_CHARACTERS]
    return b64decode(start[: len(start) // 4 * 4]).startswith(_SIGNATURES)


def _structure(encoded: EncodedBytes, *, scan: bool = True) -> Structure:
    head = encoded.read(0, _HEAD_BYTES)
    if _looks_like_another_format(head, encoded):
        raise Malformed("it could also be read as a picture of another format")
    if head.startswith(PNG):
        return png_structure(encoded)
    if head.startswith(JPEG):
        return jpeg_structure(encoded, scan=scan)
    if is_webp(head):
        return webp_structure(encoded)
    raise Malformed("it begins like none of them")


def _looks_like_another_format(head: bytes, encoded: EncodedBytes) -> bool:
    """Whether Pillow could find another format in it, with another size, once it has failed to read this one.

    It tries every format it knows, one after the other. Of those only four accept a file that begins as ours do:
    PhotoCD, whose mark stands far behind, and for a JPEG FLI, SPIDER and AVIF.
    """
    if encoded.size > _PCD_OFFSET and encoded.read(_PCD_OFFSET, len(_PCD)) == _PCD:
        return True
    if not head.startswith(JPEG):
        return False
    is_fli = head[4:6] in _FLI_TYPES and head[14:16] in _FLI_FLAGS
    return is_fli or head[16:20] in _SPIDER_TYPES or head[4:8] == _FTYP


def _ends_elsewhere(encoded: EncodedBytes, structure: Structure) -> bool:
    """Whether something has to be cut off behind the image. Raises Malformed for another picture that nobody announced.

    A few bytes of padding stay: no reader finds anything in them, and the text need not be copied.
    """
    tail = encoded.read(structure.end, _TAIL_BYTES)
    if len(tail) <= _MOST_PADDING and not tail.strip(_PADDING):
        return False
    behind = tail.lstrip(_PADDING)
    if not structure.announces_more and (behind.startswith((PNG, JPEG, b"GIF8")) or is_webp(behind)):
        raise Malformed("another picture stands behind it")
    return True


def _notes(structure: Structure) -> tuple[str, ...]:
    notes = []
    if structure.is_animated:
        notes.append("animated: only its first frame counts")
    if structure.orientation != UPRIGHT:
        notes.append("its EXIF orientation is not applied")
    return tuple(notes)
