"""Asking `/readyz` beside other work: one question at a time, never blocking.

The listening socket is open before any worker is, so the question waits in its queue and is answered by the first
worker that accepts; there is nothing to time out.
"""

from __future__ import annotations

import contextlib
import socket
from urllib.parse import urlsplit

_ASK_AGAIN_S = 0.05
_QUESTION = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_YES = b"HTTP/1.1 200 "


class Probe:
    """Whether the gateway at `address` (`http://host:port`) is ready. Knows no clock: `now` in seconds is given."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._target = (parts.hostname, parts.port)
        self._connection: socket.socket | None = None
        self._ask_at = 0.0
        self._heard = b""

    @property
    def pending(self) -> socket.socket | None:
        """The connection an answer will come on; watch it, and call `is_ready` when it can be read."""
        return self._connection

    def seconds_until_due(self, now: float) -> float | None:
        """When to call `is_ready` at the latest; None while an answer is awaited."""
        return None if self._connection is not None else max(0.0, self._ask_at - now)

    def is_ready(self, now: float) -> bool:
        """(1) Nothing asked, and it is time: ask. (2) Answered: true if by a 200. (3) Otherwise: soon ask again."""
        if self._connection is None:
            if now >= self._ask_at:
                self._ask(now)
            return False
        try:
            part = self._connection.recv(len(_YES) - len(self._heard))
        except BlockingIOError:
            return False
        except OSError:
            part = b""
        self._heard += part
        if part and len(self._heard) < len(_YES):
            return False
        yes = self._heard == _YES
        self.close()
        self._ask_at = now + _ASK_AGAIN_S
        return yes

    def close(self) -> None:
        """Drop the question, if one is open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, now: float) -> None:
        self._heard = b""
        self._ask_at = now + _ASK_AGAIN_S
        with contextlib.suppress(OSError):
            self._connection = socket.create_connection(self._target, timeout=1.0)
            self._connection.sendall(_QUESTION)
            self._connection.setblocking(False)
