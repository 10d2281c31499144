"""The body of an answer to a caller, in parts: the pictures lie in the backend's answer and are never copied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

Part: TypeAlias = bytes | msgspec.Raw


@dataclass(frozen=True, slots=True)
class AnswerBody:
    """A JSON object: each member's name and its value, encoded, in parts."""

    members: tuple[tuple[str, tuple[Part, ...]], ...]

    @property
    def parts(self) -> Iterator[Part]:
        """What follows each other on the wire."""
        for number, (name, value) in enumerate(self.members):
            yield b'%s"%s":' % (b"," if number else b"{", name.encode())
            yield from value
        yield b"}" if self.members else b"{}"

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(len(memoryview(part)) for part in self.parts)

    def member(self, name: str) -> tuple[Part, ...]:
        """The value of that member. Raises KeyError if there is none."""
        return dict(self.members)[name]

    def __bytes__(self) -> bytes:
        """Joined: a copy, for small ones."""
        return b"".join(self.parts)


def json_list(values: tuple[Part, ...]) -> tuple[Part, ...]:
    """A JSON list of values that are encoded already."""
    parts: list[Part] = [b"["]
    for number, value in enumerate(values):
        parts.extend((b",", value) if number else (value,))
    return (*parts, b"]")
