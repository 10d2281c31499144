"""Files in memory, read as the walks read them, and counted."""

from __future__ import annotations


class File:
    """The bytes of a file; `reads` is how many times it was looked into."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)
        self.reads = 0

    def read(self, offset, size):
        self.reads += 1
        return self._data[offset : offset + size]

    def windows(self, offset, step=5):
        for at in range(offset, self.size, step):
            yield at, self.read(at, step)
