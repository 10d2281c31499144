"""What walking through a file finds, and the words for what is wrong with it. The walks are beside it, one a format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

TOO_EARLY = "it ends too early"
TOO_MANY_PARTS = "it has too many parts"


class Bytes(Protocol):
    """A file that is read where it is needed."""

    size: int

    def read(self, offset: int, size: int) -> bytes:
        """The bytes from `offset` on, fewer than `size` only at the end."""


class Malformed(Exception):
    """Not a file that every decoder reads alike; `str()` continues the sentence "... must be an image: "."""


@dataclass(frozen=True, slots=True)
class Structure:
    """A whole file: its size in pixels, and `end`, the offset behind its last byte; what follows is not part of it.

    `is_animated`: there are frames behind the first, none larger than it. `announces_more`: the file says that other
    pictures stand behind it (MPF). `orientation`: EXIF's 1 to 8, 1 as it is.
    """

    kind: str
    width: int
    height: int
    end: int
    is_animated: bool = False
    announces_more: bool = False
    orientation: int = 1


def read_exactly(data: Bytes, offset: int, size: int) -> bytes:
    """`size` bytes from `offset` on. Raises Malformed where the file ends before."""
    if offset + size > data.size:
        raise Malformed(TOO_EARLY)
    return data.read(offset, size)
