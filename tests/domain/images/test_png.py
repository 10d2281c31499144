import struct

import pytest

from gateway.domain.images.png import png_structure
from gateway.domain.images.structure import Malformed
from tests.domain.images.files import File
from tests.domain.pool import png, png_chunk

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def ihdr(width=64, height=48, depth=8, colour=2, *rest):
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, *(rest or (0, 0, 0))))


def fctl(width=64, height=48, x=0, y=0):
    return png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, width, height, x, y, 1, 10, 0, 0))


def actl(frames):
    return png_chunk(b"acTL", struct.pack(">II", frames, 0))


IDAT, IEND, TEXT = png_chunk(b"IDAT", b"x"), png_chunk(b"IEND", b""), png_chunk(b"tEXt", b"a\0b")


def structure_of(*parts):
    return png_structure(File(SIGNATURE + b"".join(parts)))


def test_a_whole_png_ends_at_its_iend():
    found = structure_of(ihdr(), TEXT, IDAT, IDAT, TEXT, IEND, b"behind")
    assert (found.kind, found.width, found.height, found.is_animated) == ("png", 64, 48, False)
    assert found.end == len(SIGNATURE + ihdr() + TEXT * 2 + IDAT * 2 + IEND)


def test_frames_within_the_first_picture_are_an_animation():
    assert structure_of(ihdr(), actl(2), fctl(), IDAT, fctl(8, 8, 56, 40), TEXT, IEND).is_animated
    assert not structure_of(ihdr(), actl(1), fctl(), IDAT, IEND).is_animated


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ((IDAT, IEND), "no IHDR"),
        ((png_chunk(b"CgBI", b"1234"), ihdr(), IDAT, IEND), "no IHDR"),
        ((ihdr(), ihdr(), IDAT, IEND), "second IHDR"),
        ((ihdr(), IDAT, ihdr(), IEND), "second IHDR"),
        ((ihdr(0), IDAT, IEND), "no pixels"),
        ((ihdr(64, 2**31), IDAT, IEND), "no pixels"),
        ((ihdr(64, 48, 4, 2), IDAT, IEND), "no form of PNG"),
        ((ihdr(64, 48, 8, 5), IDAT, IEND), "no form of PNG"),
        ((ihdr(64, 48, 8, 2, 1, 0, 0), IDAT, IEND), "no form of PNG"),
        ((ihdr(64, 48, 8, 2, 0, 0, 2), IDAT, IEND), "no form of PNG"),
        ((ihdr()[:-1] + b"\0", IDAT, IEND), "damaged"),
        ((png_chunk(b"IHDR", bytes(14)), IDAT, IEND), "damaged"),
        ((ihdr(), IEND), "no pixels"),
        ((ihdr(), IDAT), "too early"),
        ((ihdr(), IDAT, IEND[:-1]), "too early"),
        ((ihdr(), b"\xff\xff\xff\xffIDAT", IEND), "too early"),
        ((ihdr(), IDAT, TEXT, IDAT, IEND), "not in one piece"),
        ((ihdr(), png_chunk(b"DDAT", b"x"), IDAT, IEND), "DDAT"),
        ((ihdr(), png_chunk(b"a1cd", b"x"), IDAT, IEND), "without a name"),
        ((ihdr(), IDAT, actl(2), IEND), "animation"),
        ((ihdr(), actl(2), actl(2), IDAT, IEND), "animation"),
        ((ihdr(), actl(2), fctl(32, 32), IDAT, IEND), "another size"),
        ((ihdr(), actl(2), fctl(), IDAT, fctl(64, 48, 1, 0), IEND), "another size"),
        ((ihdr(), actl(2), fctl(), IDAT, fctl(9000, 9000), IEND), "another size"),
        ((ihdr(), actl(2), fctl(), IDAT, png_chunk(b"fcTL", b"x"), IEND), "frame wrongly"),
    ],
)
def test_what_decoders_read_differently_or_not_at_all_is_refused(parts, why):
    with pytest.raises(Malformed, match=why):
        structure_of(*parts)


def test_a_million_tiny_parts_are_not_walked_through():
    file = File(png(8, 8)[:33] + png_chunk(b"tEXt", b"") * 1_000_000)
    with pytest.raises(Malformed, match="too many parts"):
        png_structure(file)
    assert file.reads < 50_000
