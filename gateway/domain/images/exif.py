"""The orientation in EXIF data (TIFF 6.0, tag 274). SD.Next's API never turns a picture by it: it is only told."""

from __future__ import annotations

UPRIGHT = 1
MOST_BYTES = 4_096
"""Of EXIF data so much is looked at; cameras write the first directory at its start."""
_ORIENTATION, _SHORT = 0x0112, 3
_LAST = 8
_MOST_ENTRIES = 200
_ENTRY_BYTES = 12


def orientation_of(tiff: bytes) -> int:
    """1 to 8; 1, upright, also where nothing sensible is found."""
    if not tiff.startswith((b"II*\0", b"MM\0*")):
        return UPRIGHT

    def number(offset: int, size: int) -> int:
        return int.from_bytes(tiff[offset : offset + size], "little" if tiff.startswith(b"II") else "big")

    at = number(4, 4)
    for entry in range(min(number(at, 2), _MOST_ENTRIES)):
        start = at + 2 + entry * _ENTRY_BYTES
        if number(start, 2) == _ORIENTATION and number(start + 2, 2) == _SHORT:
            found = number(start + 8, 2)
            return found if UPRIGHT <= found <= _LAST else UPRIGHT
    return UPRIGHT
