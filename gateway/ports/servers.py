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


class BackendClient(Protocol):
    """HTTP to SD.Next servers. Raises BackendUnreachable, BackendBroke or BackendTimedOut, never a foreign error."""

    async def generate(self, backend: Backend, operation: Operation, body: bytes, run_limit_s: float) -> RawReply:
        """Send one job and read the whole answer."""

    async def get(self, backend: Backend, path: str, timeout_s: float) -> RawReply:
        """Read a route of the backend."""

    async def post(self, backend: Backend, path: str, body: bytes, timeout_s: float) -> RawReply:
        """Post to a route of the backend; an empty body is sent as none."""
