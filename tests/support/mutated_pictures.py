"""PNG, JPEG and WebP files as programs write them, and the same broken, spliced and forged part by part."""

from __future__ import annotations

import base64
import io
import random
import struct
import zlib
from collections.abc import Callable

from PIL import Image

PNG, JPEG, WEBP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF"
SIZES = ((1, 1), (8, 8), (16, 24), (40, 33), (64, 64))
LARGE = (65, 200, 512, 1000, 9000, 65_500)
SCALES = (0, 1, 2, 7, 255, 256, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)
Parts = list[bytes]


def whole_pictures() -> list[bytes]:
    """A whole file of every form that Pillow writes, in several sizes."""
    return [saved(_drawn(size), **options) for size in SIZES for options in _FORMS] + [
        saved(_drawn(size), **options, append_images=[_drawn(size), _drawn(size).rotate(90)])
        for size in SIZES[1:]
        for options in _ANIMATED
    ]


_EXIF = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
_FORMS = (
    {"format": "PNG"},
    {"format": "PNG", "mode": "P"},
    {"format": "PNG", "mode": "1"},
    {"format": "PNG", "mode": "RGBA", "icc_profile": bytes(100), "exif": _EXIF, "dpi": (72, 72)},
    {"format": "JPEG"},
    {"format": "JPEG", "mode": "L", "quality": 20},
    {"format": "JPEG", "mode": "CMYK"},
    {"format": "JPEG", "progressive": True, "exif": _EXIF},
    {"format": "JPEG", "optimize": True, "icc_profile": bytes(70_000), "comment": b"a cat"},
    {"format": "JPEG", "restart_marker_rows": 1},
    {"format": "WEBP"},
    {"format": "WEBP", "lossless": True},
    {"format": "WEBP", "mode": "RGBA"},
    {"format": "WEBP", "exif": _EXIF, "icc_profile": bytes(100)},
)
_ANIMATED = (
    {"format": "PNG", "save_all": True},
    {"format": "PNG", "save_all": True, "default_image": True},
    {"format": "WEBP", "save_all": True, "duration": 50},
    {"format": "MPO", "save_all": True},
)


def saved(image: Image.Image, mode: str = "RGB", **options: object) -> bytes:
    """The file that Pillow writes."""
    out = io.BytesIO()
    image.convert(mode).save(out, **options)
    return out.getvalue()


def _drawn(size: tuple[int, int]) -> Image.Image:
    return Image.effect_noise(size, 80).convert("RGB")


def mutated(dice: random.Random, wholes: list[bytes]) -> bytes:
    """One file made of whole ones by one to three changes."""
    data = dice.choice(wholes)
    for _ in range(dice.randint(1, 3)):
        data = dice.choice((_changed_parts, _changed_parts, _changed_sizes, _changed_bytes))(dice, data, wholes)
    return data


def as_text(dice: random.Random, data: bytes) -> str:
    """Its base64 in one of the forms that programs send, or with what a lenient reader skips in between."""
    text = base64.b64encode(data).decode()
    return dice.choice(_BROKEN if dice.random() < 0.2 else _FORMS_OF_TEXT)(text, dice.randrange(len(text) + 1))


_FORMS_OF_TEXT: tuple[Callable[[str, int], str], ...] = (
    lambda text, _: text,
    lambda text, _: "data:image/png;base64," + text,
    lambda text, _: "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
    lambda text, _: text.rstrip("=").replace("+", "-").replace("/", "_"),
)
_BROKEN: tuple[Callable[[str, int], str], ...] = (
    lambda text, at: text[:at] + "!" * 4 + text[at:],
    lambda text, at: text[:at] + "=" + text[at:],
    lambda text, at: text[:at] + "-_" + text[at:],
    lambda text, at: text + "====" + text[:at],
)

# --- part by part --------------------------------------------------------------------------------


def _changed_parts(dice: random.Random, data: bytes, wholes: list[bytes]) -> bytes:
    head, parts = split(data)
    if not parts:
        return data
    others = [part for other in dice.sample(wholes, 3) if other[:2] == data[:2] for part in split(other)[1]]
    at, other = dice.randrange(len(parts)), dice.randrange(len(parts))
    change = dice.randrange(6)
    if change == 0:
        parts.insert(other, parts[at])
    elif change == 1:
        del parts[at]
    elif change == 2:
        parts[at], parts[other] = parts[other], parts[at]
    elif change == 3 and others:
        parts.insert(at, dice.choice(others))
    elif change == 4 and others:
        parts[at] = dice.choice(others)
    else:
        parts.insert(at, _with_sizes(dice, parts[0 if data[:2] == PNG[:2] else at]))
    return joined(head, parts)


def _changed_sizes(dice: random.Random, data: bytes, _: list[bytes]) -> bytes:
    """Another width or height in one header, with its checksum where it has one."""
    head, parts = split(data)
    if not parts:
        return data
    at = dice.randrange(len(parts))
    parts[at] = _with_sizes(dice, parts[at])
    return joined(head, parts)


def _with_sizes(dice: random.Random, part: bytes) -> bytes:
    side = dice.choice((*LARGE, *(side for size in SIZES for side in size)))
    if part[4:8] in (b"IHDR", b"fcTL", b"acTL"):
        at = dice.choice((8, 12)) + (4 if part[4:8] == b"fcTL" else 0)
        body = part[4:at] + struct.pack(">I", side) + part[at + 4 : -4]
        return part[:4] + body + struct.pack(">I", zlib.crc32(body))
    if part[:1] == b"\xff" and len(part) > 9:
        at = dice.choice((5, 7))
        return part[:at] + struct.pack(">H", side & 0xFFFF) + part[at + 2 :]
    if part[:4] in (b"VP8 ", b"VP8L", b"VP8X", b"ANMF"):
        at = {b"VP8 ": 14, b"VP8L": 9, b"VP8X": 12, b"ANMF": 14}[part[:4]] + dice.choice((0, 2, 3))
        return part[:at] + struct.pack("<H", side & 0xFFFF) + part[at + 2 :]
    return part


def split(data: bytes) -> tuple[bytes, Parts]:
    """What a file begins with, and its chunks or segments; a JPEG's pixels are one part with what follows them."""
    if data.startswith(PNG):
        return PNG, _split(data, 8, lambda at: 12 + int.from_bytes(data[at : at + 4], "big"))
    if data.startswith(WEBP):
        return data[:12], _split(data, 12, lambda at: 8 + -(-int.from_bytes(data[at + 4 : at + 8], "little") // 2) * 2)
    if data.startswith(JPEG):
        return JPEG, _split(data, 2, lambda at: _segment(data, at))
    return data, []


def _segment(data: bytes, at: int) -> int:
    return len(data) - at if data[at + 1 : at + 2] == b"\xda" else 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def _split(data: bytes, at: int, length: Callable[[int], int]) -> Parts:
    parts = []
    while at < len(data):
        parts.append(data[at : at + length(at)])
        at += max(2, length(at))
    return parts


def joined(head: bytes, parts: Parts) -> bytes:
    """The file of these parts, with the length that a WebP has at its start."""
    body = b"".join(parts)
    return WEBP + struct.pack("<I", len(body) + 4) + b"WEBP" + body if head[:4] == WEBP else head + body


# --- byte by byte --------------------------------------------------------------------------------


def _changed_bytes(dice: random.Random, data: bytes, wholes: list[bytes]) -> bytes:
    at = dice.randrange(max(1, min(len(data), dice.choice((40, 200, 10_000_000)))))
    to = min(len(data), at + dice.choice((1, 2, 4, 20, 400)))
    return dice.choice(
        (
            data[:at] + dice.randbytes(to - at) + data[to:],
            data[:at] + dice.randbytes(dice.randint(1, 9)) + data[at:],
            data[:at] + data[to:],
            data[:at] + data[at:to] + data[at:],
            data[: dice.randrange(len(data) + 1)],
            data + bytes(dice.choice((0, 3, 40))) + dice.choice(wholes),
            data[:at] + struct.pack(dice.choice((">I", "<I")), dice.choice(SCALES)) + data[at + 4 :],
        )
    )
