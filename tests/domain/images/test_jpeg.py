import struct

import pytest

from gateway.domain.images.jpeg import jpeg_structure
from gateway.domain.images.structure import Malformed
from tests.domain.images.files import File

SOI, EOI = b"\xff\xd8", b"\xff\xd9"


def segment(code, data=b""):
    return bytes([0xFF, code]) + struct.pack(">H", len(data) + 2) + data


def sof(width=64, height=48, bits=8, layers=3, code=0xC0):
    return segment(code, struct.pack(">BHHB", bits, height, width, layers) + bytes(3 * layers))


DQT, SOS, APP0 = segment(0xDB, bytes(65)), segment(0xDA, bytes(10)), segment(0xE0, b"JFIF\0" + bytes(9))
SCAN = SOS + b"a\xff\0b\xff\xd0c\xff\0\xff\xd7"


def structure_of(*parts, **how):
    return jpeg_structure(File(SOI + b"".join(parts)), **how)


def test_a_whole_jpeg_ends_behind_all_its_scans():
    parts = (APP0, DQT, b"\xff\xff\xff" + sof(code=0xC2)[1:], SCAN, segment(0xC4, b"x"), SCAN, b"\xff\xff" + EOI)
    found = structure_of(*parts, b"behind")
    assert (found.kind, found.width, found.height, found.announces_more) == ("jpeg", 64, 48, False)
    assert found.end == len(SOI + b"".join(parts))


@pytest.mark.parametrize("more", range(12))
def test_the_end_of_a_scan_is_found_wherever_a_window_ends(more):
    assert structure_of(sof(), SOS, b"x" * more, EOI).end == len(SOI + sof() + SOS + EOI) + more


def test_the_frame_in_an_embedded_thumbnail_does_not_count():
    thumbnail = segment(0xE1, b"Exif\0\0" + SOI + sof(9000, 9000) + SCAN + EOI)
    assert structure_of(thumbnail, sof(), SCAN, EOI).width == 64


def test_pictures_behind_the_first_are_announced_by_mpf():
    assert structure_of(segment(0xE2, b"MPF\0II*\0"), sof(), SCAN, EOI).announces_more


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ((sof(), sof(9000, 9000), SCAN, EOI), "second frame"),
        ((sof(), SCAN, sof(9000, 9000), EOI), "second frame"),
        ((SCAN, EOI), "no frame header"),
        ((sof(), EOI), "no pixels"),
        ((EOI,), "no pixels"),
        ((sof(0), SCAN, EOI), "no pixels"),
        ((sof(64, 0), SCAN, EOI), "no pixels"),
        ((sof(64, 0), SCAN, segment(0xDC, b"\0\x30"), EOI), "no pixels"),
        ((sof(), SCAN, segment(0xDC, b"\x40\0"), EOI), "FFDC"),
        ((sof(bits=12), SCAN, EOI), "8 bits"),
        ((sof(layers=2), SCAN, EOI), "layers"),
        ((segment(0xC0, b"\x08\0\x40\0\x40\x03"), SCAN, EOI), "damaged"),
        *(((sof(code=code), SCAN, EOI), f"FF{code:02X}") for code in (0xC3, 0xC5, 0xC9, 0xCF)),
        *(((segment(code, sof(9000, 9000)), sof(), SCAN, EOI), f"FF{code:02X}") for code in (0xC8, 0xCC, 0xDE, 0xDF)),
        *(((segment(code, sof(9000, 9000)), sof(), SCAN, EOI), f"FF{code:02X}") for code in (0xF0, 0xFD, 0x01, 0xD0)),
        ((SOI, sof(), SCAN, EOI), "FFD8"),
        ((b"junk", sof(), SCAN, EOI), "between its segments"),
        ((sof(), b"\0", SCAN, EOI), "between its segments"),
        ((sof(), SCAN), "too early"),
        ((sof(), SCAN, b"\xff"), "too early"),
        ((sof(), b"\xff\xe1\xff\xff"), "too early"),
        ((sof(), b"\xff\xe1\0\1", SCAN, EOI), "too early"),
    ],
)
def test_what_decoders_read_differently_or_not_at_all_is_refused(parts, why):
    with pytest.raises(Malformed, match=why):
        structure_of(*parts)


def test_of_an_answer_only_the_header_and_the_end_are_looked_at():
    assert structure_of(sof(), SOS, b"\xff\xc0" * 10, EOI, scan=False).width == 64
    with pytest.raises(Malformed, match="too early"):
        structure_of(sof(), SOS, b"pixels", scan=False)


@pytest.mark.parametrize("tiny", [segment(0xFE), SOS, b"\xff"])
def test_a_million_tiny_segments_are_not_walked_through(tiny):
    file = File(SOI + sof() + SCAN + tiny * 1_000_000)
    with pytest.raises(Malformed, match="too many parts"):
        jpeg_structure(file)
    assert file.reads < 20_000
