import struct

import pytest

from gateway.domain.images.structure import Malformed
from gateway.domain.images.webp import is_webp, webp_structure
from tests.domain.images.files import File


def chunk(name, data):
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def vp8(width=64, height=48, first=0):
    return chunk(b"VP8 ", bytes([first, 0, 0]) + b"\x9d\x01\x2a" + struct.pack("<HH", width, height) + b"x")


def vp8l(width=64, height=48):
    return chunk(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"x")


def three(number):
    return struct.pack("<I", number)[:3]


def vp8x(width=64, height=48, flags=0):
    return chunk(b"VP8X", bytes([flags, 0, 0, 0]) + three(width - 1) + three(height - 1))


def anmf(width=64, height=48, x=0, y=0, inner=None):
    inner = vp8(width, height) if inner is None else inner
    return chunk(b"ANMF", three(x) + three(y) + three(width - 1) + three(height - 1) + bytes(4) + inner)


ANIM, ICC, ALPH = chunk(b"ANIM", bytes(6)), chunk(b"ICCP", b"abc"), chunk(b"ALPH", b"x")
MOVES = 0x02


def webp(*parts, more=0):
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body) + more) + body


@pytest.mark.parametrize(
    ("parts", "is_animated"),
    [
        ((vp8(),), False),
        ((vp8l(),), False),
        ((vp8(64 | 0x4000, 48),), False),  # the two upper bits tell how to scale for display
        ((vp8(), chunk(b"EXIF", b"II*\0")), False),
        ((vp8x(), ICC, ALPH, vp8(), chunk(b"XMP ", b"x")), False),
        ((vp8x(), vp8l()), False),
        ((vp8x(flags=MOVES), ANIM, anmf(), anmf(8, 8, 28, 20)), True),
        ((vp8x(flags=MOVES), ANIM, anmf(inner=ALPH + vp8())), False),
    ],
)
def test_a_whole_webp_ends_where_it_says(parts, is_animated):
    file = webp(*parts)
    found = webp_structure(File(file + b"behind"))
    assert is_webp(file)
    assert (found.kind, found.width, found.height, found.end) == ("webp", 64, 48, len(file))
    assert found.is_animated is is_animated


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (webp(), "no pixels"),
        (webp(vp8(), more=2), "too early"),
        (webp(vp8()[:-4]), "too early"),
        (webp(vp8(), b"EX"), "too early"),
        (webp(ICC, vp8()), "does not begin"),
        (webp(vp8(0)), "does not begin"),
        (webp(vp8(first=1)), "does not begin"),
        (webp(chunk(b"VP8L", b"\x2e" + bytes(9))), "does not begin"),
        (webp(chunk(b"VP8X", bytes(9)), vp8()), "damaged"),
        (webp(vp8x()), "no pixels"),
        (webp(vp8x(flags=MOVES), ANIM), "no pixels"),
        (webp(vp8(), vp8(9000, 9000)), "second picture"),
        (webp(vp8(), vp8x(9000, 9000)), "second picture"),
        (webp(vp8(), anmf(9000, 9000)), "second picture"),
        (webp(vp8x(), vp8(), vp8l()), "second picture"),
        (webp(vp8x(flags=MOVES), vp8()), "second picture"),
        (webp(vp8x(), vp8x(9000, 9000), vp8()), "second VP8X"),
        (webp(vp8x(), vp8(9000, 9000)), "differ in size"),
        (webp(vp8x(9000, 9000), vp8()), "differ in size"),
        (webp(vp8x(), anmf()), "does not announce"),
        (webp(vp8x(flags=MOVES), anmf(66, 48)), "within its canvas"),
        (webp(vp8x(flags=MOVES), anmf(64, 48, 1, 0)), "within its canvas"),
        (webp(vp8x(flags=MOVES), anmf(inner=vp8(9000, 9000))), "one picture"),
        (webp(vp8x(flags=MOVES), anmf(inner=vp8() + vp8())), "one picture"),
        (webp(vp8x(flags=MOVES), anmf(inner=ALPH)), "one picture"),
    ],
)
def test_what_decoders_read_differently_or_not_at_all_is_refused(file, why):
    with pytest.raises(Malformed, match=why):
        webp_structure(File(file))


@pytest.mark.parametrize("wrap", [lambda parts: webp(vp8(), parts), lambda p: webp(vp8x(flags=MOVES), anmf(inner=p))])
def test_a_million_tiny_parts_are_not_walked_through(wrap):
    file = File(wrap(chunk(b"junk", b"") * 1_000_000))
    with pytest.raises(Malformed, match="too many parts"):
        webp_structure(file)
    assert file.reads < 30_000
