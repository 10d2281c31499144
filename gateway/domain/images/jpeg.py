"""JPEG from marker to marker (ITU T.81, annex B), through all scans to the end of the image.

Only segments that every decoder skips by their length may stand in it. Of the others Pillow looks into some (DAC, JPG
and the reserved ones) and would find a frame header there that no other decoder sees; it takes the size of the last
one of several, libjpeg refuses them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from gateway.domain.images.exif import MOST_BYTES, UPRIGHT, orientation_of
from gateway.domain.images.structure import TOO_EARLY, TOO_MANY_PARTS, Bytes, Malformed, Structure, read_exactly

SIGNATURE = b"\xff\xd8\xff"
_END = b"\xff\xd9"
_MOST_SEGMENTS = 4_000
_MARK = 0xFF
_SOI, _EOI, _SOS, _APP1, _APP2 = 0xD8, 0xD9, 0xDA, 0xE1, 0xE2
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive
_SKIPPED = frozenset({0xC4, 0xDA, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})  # DHT, SOS, DQT, DRI, COM, APP0 to APP15
_BITS, _LAYERS = 8, (1, 3, 4)
_SIZE_BYTES, _FRAME_BYTES, _LAYER_BYTES = 2, 6, 3
_EXIF, _MPF = b"Exif\0\0", b"MPF\0"
# Within a scan FF 00 is a pixel's FF, and FF D0 to FF D7 only mark the way. One pass in C.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")


class ScannedBytes(Bytes, Protocol):
    """A file that is also read from one end to the other."""

    def windows(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """All bytes from `offset` on, piece by piece, each with its own offset."""


def jpeg_structure(data: ScannedBytes, *, scan: bool = True) -> Structure:
    """The structure up to the end of image. Raises Malformed.

    Without `scan` what follows the first scan's header is believed if the file ends as a JPEG does.
    """
    walk = _Walk(data)
    offset = len(SIGNATURE) - 1
    for _ in range(_MOST_SEGMENTS):
        marker, end = _segment_at(data, offset)
        if marker == _EOI:
            return walk.done(end)
        if marker != _MARK:
            walk.take(marker, offset + 2 + _SIZE_BYTES, end - offset - 2 - _SIZE_BYTES)
        if marker == _SOS and not scan:
            if data.read(data.size - 2, 2) != _END:
                raise Malformed(TOO_EARLY)
            return walk.done(data.size)
        offset = _next_marker(data, end) if marker == _SOS else end
    raise Malformed(TOO_MANY_PARTS)


def _segment_at(data: Bytes, offset: int) -> tuple[int, int]:
    """The marker at `offset` and where its segment ends; for a fill byte its own value and the next byte."""
    mark = read_exactly(data, offset, 2)
    if mark[0] != _MARK:
        raise Malformed("bytes stand between its segments")
    if mark[1] == _MARK:
        return _MARK, offset + 1
    if mark[1] == _EOI:
        return _EOI, offset + 2
    if mark[1] not in _FRAMES and mark[1] not in _SKIPPED:
        raise Malformed(f"decoders do not agree about its marker FF{mark[1]:02X}")
    size = int.from_bytes(read_exactly(data, offset + 2, _SIZE_BYTES), "big")
    if size < _SIZE_BYTES or offset + 2 + size > data.size:
        raise Malformed(TOO_EARLY)
    return mark[1], offset + 2 + size


def _next_marker(data: ScannedBytes, offset: int) -> int:
    """Where the scan that begins at `offset` ends."""
    ends_in_mark = False
    for start, window in data.windows(offset):
        if ends_in_mark and _NEXT_MARKER.match(b"\xff" + window[:1]):
            return start - 1
        found = _NEXT_MARKER.search(window)
        if found is not None:
            return start + found.start()
        ends_in_mark = window.endswith(b"\xff")
    raise Malformed(TOO_EARLY)


class _Walk:
    """What the segments so far have said."""

    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._size: tuple[int, int] | None = None
        self._has_pixels = False
        self._announces_more = False
        self._orientation = UPRIGHT

    def take(self, marker: int, offset: int, size: int) -> None:
        """One more segment, its data at `offset`."""
        if marker in _FRAMES:
            if self._size is not None:
                raise Malformed("it has a second frame header")
            self._size = _size_in(self._data.read(offset, size))
        elif marker == _SOS:
            if self._size is None:
                raise Malformed("it has no frame header before its pixels")
            self._has_pixels = True
        else:
            self._take_application(marker, offset, size)

    def _take_application(self, marker: int, offset: int, size: int) -> None:
        if marker == _APP1:
            head = self._data.read(offset, min(size, len(_EXIF) + MOST_BYTES))
            if head.startswith(_EXIF):
                self._orientation = orientation_of(head[len(_EXIF) :])
        elif marker == _APP2 and self._data.read(offset, min(size, len(_MPF))) == _MPF:
            self._announces_more = True

    def done(self, end: int) -> Structure:
        """The end of the image has come."""
        if self._size is None or not self._has_pixels:
            raise Malformed("it has no pixels")
        return Structure("jpeg", *self._size, end, announces_more=self._announces_more, orientation=self._orientation)


def _size_in(frame: bytes) -> tuple[int, int]:
    """Width and height by a frame header (T.81 B.2.2); a height of 0 would be told behind the pixels (DNL)."""
    if len(frame) < _FRAME_BYTES or len(frame) != _FRAME_BYTES + _LAYER_BYTES * frame[5]:
        raise Malformed("its frame header is damaged")
    if frame[0] != _BITS or frame[5] not in _LAYERS:
        raise Malformed("it has more than 8 bits a sample, or 2 or more than 4 layers")
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    if not width or not height:
        raise Malformed("a side has no pixels")
    return width, height
