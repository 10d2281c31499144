"""HTTP to the pool's servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.domain.backends import Backend
from gateway.domain.jobs import Operation


@dataclass(frozen=True, slots=True)
class RawReply:
    """A backend's complete answer as it came; nothing in it is believed yet."""

    status: int
    body: bytes
    content_type: str = ""
    content_encoding: str = ""
    date: str = ""


MOST_LIST_BYTES = 16_000_000
"""Of a list, of options, or of a progress with its preview: all that is read of a backend beside its jobs."""


@dataclass(frozen=True, slots=True)
class AnswerBounds:
    """When an attempt is given up: after so many seconds, or when its answer is larger than `most_bytes`."""

    run_limit_s: float
    most_bytes: int


class BackendClient(Protocol):
    """HTTP to SD.Next servers. Raises BackendUnreachable, BackendBroke, BackendTimedOut or BackendAnswerTooLarge, never
    a foreign error."""

    async def generate(self, backend: Backend, operation: Operation, body: bytes, bounds: AnswerBounds) -> RawReply:
        """Send one job and read the whole answer."""

    async def get(self, backend: Backend, path: str, timeout_s: float) -> RawReply:
        """Read a route of the backend, at most `MOST_LIST_BYTES` of it."""

    async def post(self, backend: Backend, path: str, body: bytes, timeout_s: float) -> RawReply:
        """Post to a route of the backend; an empty body is sent as none."""
