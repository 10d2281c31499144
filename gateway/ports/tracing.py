"""What is told of a call to those who follow it from service to service; how it is told is an adapter's business.

A call that nobody follows has the `UNTRACED` trace: nothing is made for it, kept or sent. No method raises or waits.
Facts are ids, names of ours and of the operator's, and numbers: never a prompt, a key, a caller's address or what an
error says.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

Fact = str | int | float | bool


class Trace(Protocol):
    """One call, as it is followed. Its steps nest as their blocks do, also in tasks that are started within them."""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits, "" where nobody follows the call."""

    def note(self, **facts: Fact) -> None:
        """Facts about the whole call; an empty text is no fact."""

    def answered(self, route: str, status: int, reason: str) -> None:
        """What the call was (a name of ours) and how it ended: its HTTP status, 0 for none, and its error's class."""

    def step(self, name: str, **facts: Fact) -> AbstractContextManager[None]:
        """A part of the call that lasts as long as the block; an error that leaves it is told by its class."""

    def past(self, name: str, ago_s: float, seconds: float, **facts: Fact) -> None:
        """A part that began `ago_s` seconds ago and lasted `seconds`, known only now."""


class Untraced:
    """The trace of a call that nobody follows, and of one that is only passed on. Fulfils `Trace`."""

    def __init__(self, trace_id: str = "") -> None:
        self.trace_id = trace_id
        self._nothing = nullcontext()

    def note(self, **facts: Fact) -> None:
        """Nobody is told."""

    def answered(self, route: str, status: int, reason: str) -> None:
        """Nobody is told."""

    def step(self, name: str, **facts: Fact) -> AbstractContextManager[None]:
        """Nobody is told."""
        return self._nothing

    def past(self, name: str, ago_s: float, seconds: float, **facts: Fact) -> None:
        """Nobody is told."""


UNTRACED = Untraced()


class Tracer(Protocol):
    """Where traces begin."""

    def call(self, method: str, headers: Sequence[tuple[bytes, bytes]]) -> AbstractContextManager[Trace] | None:
        """A call came with these headers (names in lower case); None where nobody follows it, which is to cost
        nothing.
        """

    async def close(self) -> None:
        """Send what is left, within a few seconds, or give it up."""
