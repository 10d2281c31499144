"""PNG from chunk to chunk (PNG specification, third edition, sections 5 and 11).

Pillow takes the size of the last IHDR before the pixels, libpng that of the first; Pillow goes on over an unknown
critical chunk, libpng refuses it. What they would read differently is refused here.
"""

from __future__ import annotations

from zlib import crc32

from gateway.domain.images.exif import MOST_BYTES, UPRIGHT, orientation_of
from gateway.domain.images.structure import TOO_EARLY, TOO_MANY_PARTS, Bytes, Malformed, Structure, read_exactly

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_CHUNKS = 20_000  # an encoder that writes 2 KB at a time needs so many for 40 MB; each costs 1 us
_FRAME, _HEAD = 12, 8  # bytes of a chunk beside its data: length and name before it, the checksum behind
_IHDR_BYTES, _ACTL_BYTES, _FCTL_BYTES = 13, 8, 26
_BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_LARGEST_SIDE = 2**31 - 1
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_BEFORE, _WITHIN, _BEHIND = range(3)


def png_structure(data: Bytes) -> Structure:
    """The structure up to IEND. Raises Malformed."""
    walk = _Walk(data)
    offset = len(SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        head = read_exactly(data, offset, _HEAD)
        size, name = int.from_bytes(head[:4], "big"), head[4:]
        end = offset + size + _FRAME
        if end > data.size:
            raise Malformed(TOO_EARLY)
        walk.take(name, offset + _HEAD, size)
        if name == b"IEND":
            return walk.done(end)
        offset = end
    raise Malformed(TOO_MANY_PARTS)


class _Walk:
    """What the chunks so far have said."""

    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._size = (0, 0)
        self._pixels = _BEFORE
        self._frames = 0
        self._orientation = UPRIGHT

    def take(self, name: bytes, offset: int, size: int) -> None:
        """One more chunk, its data at `offset`."""
        if self._size == (0, 0):
            if name != b"IHDR":
                raise Malformed("its first part is no IHDR")
            self._size = _size_in(read_exactly(self._data, offset - 4, _IHDR_BYTES + _HEAD), size)
        elif name == b"IDAT":
            if self._pixels == _BEHIND:
                raise Malformed("its pixels are not in one piece")
            self._pixels = _WITHIN
        else:
            self._pixels = _BEFORE if self._pixels == _BEFORE else _BEHIND
            self._take_other(name, offset, size)

    def _take_other(self, name: bytes, offset: int, size: int) -> None:
        if name == b"IHDR":
            raise Malformed("it has a second IHDR")
        if not name.isalpha():
            raise Malformed("it has a part without a name")
        if name[:1].isupper() and name not in _CRITICAL:
            raise Malformed(f"no decoder need know its part {name.decode()}")
        if name == b"acTL":
            self._take_animation(offset, size)
        elif name == b"fcTL":
            self._take_frame(offset, size)
        elif name == b"eXIf":
            self._orientation = orientation_of(self._data.read(offset, min(size, MOST_BYTES)))

    def _take_animation(self, offset: int, size: int) -> None:
        if self._frames or self._pixels != _BEFORE or size != _ACTL_BYTES:
            raise Malformed("it announces its animation wrongly")
        self._frames = int.from_bytes(self._data.read(offset, 4), "big") or 1

    def _take_frame(self, offset: int, size: int) -> None:
        if size != _FCTL_BYTES:
            raise Malformed("it describes a frame wrongly")
        fields = self._data.read(offset + 4, 16)
        width, height, x, y = (int.from_bytes(fields[at : at + 4], "big") for at in (0, 4, 8, 12))
        fits = 0 < width and x + width <= self._size[0] and 0 < height and y + height <= self._size[1]
        if not fits or (self._pixels == _BEFORE and (width, height) != self._size):
            raise Malformed("a frame has another size than its first picture")

    def done(self, end: int) -> Structure:
        """IEND has come."""
        if self._pixels == _BEFORE:
            raise Malformed("it has no pixels")
        return Structure("png", *self._size, end, is_animated=self._frames > 1, orientation=self._orientation)


def _size_in(chunk: bytes, size: int) -> tuple[int, int]:
    """Width and height by an IHDR, given from its name to its checksum."""
    data, checksum = chunk[4 : 4 + _IHDR_BYTES], chunk[4 + _IHDR_BYTES :]
    if size != _IHDR_BYTES or crc32(chunk[: 4 + _IHDR_BYTES]) != int.from_bytes(checksum, "big"):
        raise Malformed("its IHDR is damaged")
    width, height = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")
    depth, colour, compression, row_filter, interlace = data[8:]
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
        raise Malformed("a side has no pixels")
    if depth not in _BIT_DEPTHS.get(colour, ()) or compression or row_filter or interlace > 1:
        raise Malformed("its IHDR describes no form of PNG")
    return width, height
