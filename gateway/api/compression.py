"""gzip for long JSON lists when the client asks for it.

Never for pictures, which hardly shrink as base64 and would cost more than all the rest of a call: only answers to GET
are looked at, and of those not the progress, which holds a preview. Never br: some clients ask for it and cannot read
it.
"""

from __future__ import annotations

import asyncio
import gzip
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEAST_BYTES = 2_000
_OWN_THREAD_BYTES = 200_000  # about 2 ms of work at this level; more would be felt by other calls
_LEVEL = 1  # lists repeat themselves: the highest level makes them a third smaller for ten times the work
_WITH_PICTURES = frozenset({"progress"})
_WEIGHT = re.compile(r"[01](?:\.[0-9]{0,3})?")


class Compression:
    """Layer around the routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; its answer is compressed where that is worth it."""
        if scope["type"] == "http" and scope["method"] == "GET" and _may_be_long(scope["path"]):
            send = _Answer(send, wants_gzip(dict(scope["headers"]).get(b"accept-encoding", b"").decode("latin-1"))).send
        await self._app(scope, receive, send)


def wants_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding names gzip and not with weight 0 (RFC 9110, 12.5.3); `*` is not taken for it."""
    return any(_is_gzip(member) for member in accepted.split(","))


def _is_gzip(member: str) -> bool:
    """Split, not matched: a pattern with blanks around every part takes quadratic time over a header of blanks."""
    coding, semicolon, parameter = member.partition(";")
    if coding.strip().lower() != "gzip":
        return False
    if not semicolon:
        return True
    name, _, weight = parameter.partition("=")
    weight = weight.strip()
    return name.strip().lower() == "q" and _WEIGHT.fullmatch(weight) is not None and float(weight) > 0


def _may_be_long(path: str) -> bool:
    return path.rpartition("/")[2] not in _WITH_PICTURES


class _Answer:
    """Holds the beginning of an answer back until its body is known."""

    def __init__(self, send: Send, wanted: bool) -> None:
        self._send = send
        self._wanted = wanted
        self._begun: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_json(message):
            self._begun = message
            return
        if self._begun is not None:
            start, self._begun = self._begun, None
            body = message.get("body", b"")
            if len(body) >= LEAST_BYTES and not message.get("more_body", False):
                start["headers"] = [*start["headers"], (b"vary", b"Accept-Encoding")]
                if self._wanted:
                    message = {**message, "body": await _compressed(body)}
                    start["headers"] = _encoded(start["headers"], len(message["body"]))
            await self._send(start)
        await self._send(message)


def _is_json(start: Message) -> bool:
    headers = dict(start.get("headers", ()))
    return headers.get(b"content-type", b"").startswith(b"application/json") and b"content-encoding" not in headers


def _encoded(headers: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    return [*kept, (b"content-encoding", b"gzip"), (b"content-length", str(length).encode())]


async def _compressed(body: bytes) -> bytes:
    if len(body) < _OWN_THREAD_BYTES:
        return gzip.compress(body, _LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, _LEVEL, mtime=0)
