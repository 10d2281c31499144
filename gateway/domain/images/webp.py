"""WebP from chunk to chunk (RFC 9649, section 2): still or animated, every frame within its canvas.

The sizes stand twice where there is a VP8X header: for the canvas, and in each frame's own bit stream. libwebp refuses
a still picture where they differ, other readers take either.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.domain.images.exif import MOST_BYTES, UPRIGHT, orientation_of
from gateway.domain.images.structure import TOO_EARLY, TOO_MANY_PARTS, Bytes, Malformed, Structure, read_exactly

_RIFF, _WEBP = b"RIFF", b"WEBP"
_MOST_CHUNKS = 20_000
_HEAD = 8
_FILE_HEAD = 12
_VP8X_BYTES, _ANMF_BYTES = 10, 16
_ANIMATION = 0x02
_VP8_START, _VP8L_START = b"\x9d\x01\x2a", 0x2F
_OF_PICTURES = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"})
_EXIF_MARK = b"Exif\0\0"


def is_webp(head: bytes) -> bool:
    """Whether a file that begins like this is WebP."""
    return head[:4] == _RIFF and head[8:12] == _WEBP


def webp_structure(data: Bytes) -> Structure:
    """The structure as far as the file says it goes. Raises Malformed."""
    end = _HEAD + int.from_bytes(read_exactly(data, 4, 4), "little")
    if end > data.size:
        raise Malformed(TOO_EARLY)
    walk = _Walk(data)
    for name, offset, size in walk.chunks(_FILE_HEAD, end):
        walk.take(name, offset, size)
    return walk.done(end)


class _Walk:
    """What the chunks so far have said."""

    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._left = _MOST_CHUNKS  # in the whole file, those within frames too
        self._canvas: tuple[int, int] | None = None
        self._is_extended = self._is_animated = False
        self._pictures = 0
        self._orientation = UPRIGHT

    def chunks(self, offset: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """Name, offset and size of the data of each chunk between two offsets. Raises Malformed."""
        while offset < end:
            self._left -= 1
            if self._left < 0:
                raise Malformed(TOO_MANY_PARTS)
            head = read_exactly(self._data, offset, _HEAD)
            start, size = offset + _HEAD, int.from_bytes(head[4:], "little")
            if start + size > end:
                raise Malformed(TOO_EARLY)
            yield head[:4], start, size
            offset = start + size + size % 2

    def take(self, name: bytes, offset: int, size: int) -> None:
        """One more chunk, its data at `offset`."""
        if self._canvas is None:
            self._take_first(name, offset, size)
        elif not self._is_extended:
            if name in _OF_PICTURES:
                raise Malformed("it has a second picture")
        else:
            self._take_extended(name, offset, size)

    def _take_extended(self, name: bytes, offset: int, size: int) -> None:
        if name in (b"VP8 ", b"VP8L"):
            if self._is_animated or self._pictures:
                raise Malformed("it has a second picture")
            if frame_size(self._data, name, offset, size) != self._canvas:
                raise Malformed("its picture and its canvas differ in size")
            self._pictures = 1
        elif name == b"VP8X":
            raise Malformed("it has a second VP8X")
        elif name == b"ANMF":
            self._take_frame(offset, size)
        elif name == b"EXIF":
            head = self._data.read(offset, min(size, len(_EXIF_MARK) + MOST_BYTES))
            self._orientation = orientation_of(head.removeprefix(_EXIF_MARK))

    def _take_first(self, name: bytes, offset: int, size: int) -> None:
        if name != b"VP8X":
            self._canvas = frame_size(self._data, name, offset, size)
            self._pictures = 1
            return
        if size < _VP8X_BYTES:
            raise Malformed("its VP8X is damaged")
        head = self._data.read(offset, _VP8X_BYTES)
        self._is_extended, self._is_animated = True, bool(head[0] & _ANIMATION)
        self._canvas = int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1

    def _take_frame(self, offset: int, size: int) -> None:
        if not self._is_animated or size < _ANMF_BYTES or self._canvas is None:
            raise Malformed("it has a frame that it does not announce")
        fields = self._data.read(offset, _ANMF_BYTES)
        x, y, width, height = (int.from_bytes(fields[at : at + 3], "little") for at in (0, 3, 6, 9))
        frame = width + 1, height + 1
        if 2 * x + frame[0] > self._canvas[0] or 2 * y + frame[1] > self._canvas[1]:
            raise Malformed("a frame does not lie within its canvas")
        found = [
            frame_size(self._data, name, at, length)
            for name, at, length in self.chunks(offset + _ANMF_BYTES, offset + size)
            if name in (b"VP8 ", b"VP8L")
        ]
        if found != [frame]:
            raise Malformed("a frame is not the one picture it says it is")
        self._pictures += 1

    def done(self, end: int) -> Structure:
        """All chunks have come."""
        if self._canvas is None or not self._pictures:
            raise Malformed("it has no pixels")
        return Structure("webp", *self._canvas, end, is_animated=self._pictures > 1, orientation=self._orientation)


def frame_size(data: Bytes, name: bytes, offset: int, size: int) -> tuple[int, int]:
    """Width and height by the bit stream of a VP8 (RFC 6386, 9.1) or VP8L chunk. Raises Malformed."""
    head = data.read(offset, min(size, _VP8X_BYTES))
    found = (0, 0)
    if name == b"VP8L" and len(head) > 4 and head[0] == _VP8L_START:  # noqa: PLR2004 - the mark and 28 bits
        bits = int.from_bytes(head[1:5], "little")
        found = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif name == b"VP8 " and head[3:6] == _VP8_START and not head[0] & 1:
        found = int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    if not found[0] or not found[1]:
        raise Malformed("it does not begin with a picture")
    return found
