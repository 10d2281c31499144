"""What the server received, for tests: every request outside `/__sim`, with its body shortened."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.simulator.sdnext.clock import LoopClock

CONTROL_PREFIX = "/__sim"
_KEPT = 20_000
_LONG = 200
_SHOWN_HEADERS = frozenset(
    {
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "expect",
        "traceparent",
        "tracestate",
        "user-agent",
    }
)


@dataclass(slots=True)
class Received:
    """One request. `at` is the loop's clock in seconds; `status` stays None while it runs or if it never ended."""

    number: int
    at: float
    method: str
    path: str
    query: str
    client: str
    headers: dict[str, str]
    body: Any = None
    status: int | None = None
    seconds: float | None = None

    def as_json(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}


class ReceivedLog:
    """The last 20,000 requests, oldest first."""

    def __init__(self, clock: LoopClock) -> None:
        self._clock = clock
        self._entries: deque[Received] = deque(maxlen=_KEPT)
        self._count = 0

    def open(self, scope: Scope) -> Received:
        """Note a request whose head has come."""
        self._count += 1
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        client = scope.get("client")
        entry = Received(
            number=self._count,
            at=self._clock.now(),
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            client=f"{client[0]}:{client[1]}" if client else "",
            headers={k: v for k, v in headers.items() if k in _SHOWN_HEADERS},
        )
        self._entries.append(entry)
        return entry

    def close(self, entry: Received, status: int | None) -> None:
        """Note how it ended."""
        entry.status = status
        entry.seconds = round(self._clock.now() - entry.at, 4)

    def listing(self, path: str | None = None) -> list[dict[str, Any]]:
        """The requests, or only those to one path."""
        return [entry.as_json() for entry in self._entries if path is None or entry.path == path]

    def clear(self) -> None:
        """Forget them; numbers go on."""
        self._entries.clear()


class InspectionMiddleware:
    """Writes the log. Sees the body as it streams by and changes nothing."""

    def __init__(self, app: ASGIApp, log: ReceivedLog) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, noting head, body and status."""
        if scope["type"] != "http" or scope["path"].startswith(CONTROL_PREFIX):
            await self._app(scope, receive, send)
            return
        entry, chunks, status = self._log.open(scope), bytearray(), [0]

        async def watched_receive() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                chunks.extend(message.get("body", b""))
                if not message.get("more_body"):
                    entry.body = shortened(_parsed(bytes(chunks)))
            return message

        async def watched_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
            await send(message)

        try:
            await self._app(scope, watched_receive, watched_send)
        finally:
            self._log.close(entry, status[0] or None)


def shortened(value: object) -> object:
    """The value with every string over 200 characters replaced by its length, SHA-256 and first 32 characters."""
    if isinstance(value, str) and len(value) > _LONG:
        return {"length": len(value), "sha256": hashlib.sha256(value.encode()).hexdigest(), "head": value[:32]}
    if isinstance(value, dict):
        return {key: shortened(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shortened(each) for each in value]
    return value


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
