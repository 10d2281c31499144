import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.images.exif import orientation_of


def tiff(order, value, tag=0x0112, kind=3, more=0):
    mark = b"II*\0" if order == "<" else b"MM\0*"
    others = struct.pack(order + "HHII", 0x010F, 2, 1, 0) * more
    entry = struct.pack(order + "HHIHH", tag, kind, 1, value, 0)
    return mark + struct.pack(order + "IH", 8, more + 1) + others + entry


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_the_orientation_is_read_in_either_byte_order(order, value):
    assert orientation_of(tiff(order, value, more=value)) == value


@pytest.mark.parametrize(
    "data",
    [b"", b"II*\0", tiff("<", 0), tiff("<", 9), tiff("<", 6, kind=4), tiff("<", 6, tag=0x0113), b"XX" + bytes(50)],
)
def test_what_says_nothing_sensible_is_upright(data):
    assert orientation_of(data) == 1


@given(st.binary(max_size=100), st.sampled_from([b"II*\0", b"MM\0*", b""]))
def test_no_bytes_break_the_reader(data, mark):
    assert 1 <= orientation_of(mark + data) <= 8
