"""uvicorn's HTTP/1.1 connection with what it lacks: limits on how slowly and how much a caller may send.

Headers: within `head_s` from the first byte, and at most `head_bytes`, or 408 and 431. Body: the time spent waiting for
it is taken from an allowance of `body_patience_s`, which every byte refills at `body_bytes_per_s`, so that a body may
stall for that long and be slower for no longer: then 408. Waiting is counted only while the application asks for the
body; a pause of our own is nobody's fault.

An answer of which the caller takes nothing for `answer_stall_s` is given up: it would stay in memory for ever.

An answer given before the body was read to its end closes the connection, but not at once: what is still under way is
thrown away for `linger_s`, because closing a socket with unread data resets the connection, and a caller in the middle
of sending would see that instead of the answer (RFC 9112, 9.6). `Expect: 100-continue` is answered by uvicorn when the
application first asks for the body, never before.

No other protocol is spoken: an `Upgrade` is as if it were not there (RFC 9110, 7.8; decision 0051). What cannot be read
gets our error body behind the answers that are still owed, and nothing behind it is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NoReturn

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.api.cors import Cors, Headers
from gateway.api.errors import answer_to
from gateway.api.middleware import request_id_of
from gateway.domain.errors import CallTooSlow, GatewayError, HeadersTooLarge, NotHttp
from gateway.launcher.request_heads import target_to_serve, without_upgrade
from gateway.settings import Settings

Message = MutableMapping[str, Any]
_NOT_HTTP = "This is no HTTP/1.1 request. If the address began with https://, use http:// or a proxy that ends TLS."
_MOST_PIPELINED = 16  # requests read ahead of the answer that is being made: each costs memory
_LINE_EXTRA_BYTES = 4  # the colon, the blank and the end of a header's line


@dataclass(frozen=True, slots=True)
class Limits:
    """How much and how slowly a caller may send."""

    head_bytes: int = 32_000
    head_s: float = 10.0
    body_bytes_per_s: float = 20_000.0
    body_patience_s: float = 20.0
    linger_s: float = 10.0
    answer_stall_s: float = 60.0


def protocol_for(settings: Settings) -> type[GuardedProtocol]:
    """The class of connections for these settings: uvicorn makes the connections itself, and takes a class."""

    class Connection(GuardedProtocol):
        cors = Cors(settings.cors_origins)

    return Connection


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `limits` and `cors` are the class's."""

    limits = Limits()
    cors = Cors()

    refusal: GatewayError | None = None  # why nothing more of this connection is read, once something was wrong
    _flaw: GatewayError | None = None  # what our own checks found, kept because the parser's error does not carry it
    _head_timer: asyncio.TimerHandle | None = None
    _is_in_head = False
    _is_in_body = False
    _has_upgrade = False
    _head_bytes = 0  # of the head that is being read: of its complete lines
    _fed_bytes = 0  # the same in whole chunks, which counts a line that does not end too
    _is_lingering = False
    _reader_timer: asyncio.TimerHandle | None = None
    _running: RequestResponseCycle | None = None  # uvicorn's `cycle` is the one that was read last

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller has come; the time for the first head begins."""
        super().connection_made(transport)
        # uvicorn's own reads on behind a request that said `Connection: close`.
        self.parser = httptools.HttpRequestParser(self)
        self._head_timer = self.loop.call_later(self.limits.head_s, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller is gone. uvicorn tells only the call that was read last: pipelined ones before it would run on."""
        self._stop_head_timer()
        self._stop_reader_timer()
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        """Some bytes came. Unlike uvicorn's this logs nothing: whoever sends nonsense must not fill the log."""
        if self._is_lingering or self.refusal is not None:
            return
        self._unset_keepalive_if_required()
        if not self._is_in_body:
            self._fed_bytes += len(data)
        try:
            self._feed(data)
            if self._fed_bytes > self.limits.head_bytes:
                self._refuse(self._too_large())
        except httptools.HttpParserError:
            self._refuse(self._flaw or NotHttp(_NOT_HTTP))
        # Empty lines between two requests are no head, and must not keep a connection for ever either.
        is_idle = not self._is_in_body and (self.cycle is None or self.cycle.response_complete)
        if (self._is_in_head or is_idle) and self._head_timer is None and not self._is_ending():
            self._head_timer = self.loop.call_later(self.limits.head_s, self._head_is_late)

    def _feed(self, data: bytes) -> None:
        """Parse. Raises HttpParserError.

        At a head with `Upgrade` the parser takes what follows for another protocol: it reads no body and begins anew
        behind the head, so that the body would be run as a request. A fresh parser gets the same head without it.
        """
        rest = memoryview(data)
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
                head = without_upgrade(self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers)
                self.parser = httptools.HttpRequestParser(self)
                self._has_upgrade = False
                self.parser.feed_data(head)
            else:
                return

    def on_message_begin(self) -> None:
        """A head begins."""
        if len(self.pipeline) >= _MOST_PIPELINED:
            self._fail(NotHttp(f"More than {_MOST_PIPELINED} requests wait for an answer. Read answers first."))
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, complete. Fields behind a chunked body are counted and dropped: the call has begun without them."""
        self._count(len(name) + len(value) + _LINE_EXTRA_BYTES)
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete; the application is called."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if self.parser.should_upgrade() and method != b"CONNECT":
            self._has_upgrade = True  # `_feed` comes here again, without it
            return
        try:
            self.url = target_to_serve(method, self.url, version, self.headers)
        except NotHttp as flaw:
            self._fail(flaw)
        if version == "1.0":
            self.expect_100_continue = False  # RFC 9110, 10.1.1
        self._is_in_head, self._is_in_body, self._fed_bytes = False, True, 0
        self._stop_head_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is complete."""
        if self._has_upgrade:
            return
        self._is_in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer was sent; the connection waits for the next request unless it is about to close."""
        if self._is_lingering:
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        if self.refusal is not None and self.cycle.response_complete:
            self._answer_refusal(self.refusal)

    def pause_writing(self) -> None:
        """More of an answer waits than the caller takes."""
        super().pause_writing()
        self._look_at_reader(None)

    def resume_writing(self) -> None:
        """Most of it was taken."""
        self._stop_reader_timer()
        super().resume_writing()

    def linger(self) -> None:
        """Close our side; throw away what still comes, until the caller closes his or `linger_s` are over."""
        if self._is_lingering or self.transport.is_closing():
            return
        self._is_lingering = True
        self._stop_head_timer()
        self._unset_keepalive_if_required()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(self.limits.linger_s, self.transport.close)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 - uvicorn's type
        self._running = cycle
        super()._start_asgi_task(cycle, _Call(self, cycle, app))

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.limits.head_bytes:
            self._fail(self._too_large())

    def _fail(self, flaw: GatewayError) -> NoReturn:
        """End the parser's work from inside of one of its callbacks: `feed_data` raises HttpParserError."""
        self._flaw = flaw
        raise flaw

    def _is_ending(self) -> bool:
        return self.refusal is not None or self.transport.is_closing()

    def _too_large(self) -> GatewayError:
        return HeadersTooLarge(
            f"The headers are larger than {self.limits.head_bytes} bytes. Send fewer or shorter ones."
        )

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_reader_timer(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def _look_at_reader(self, waiting_bytes: int | None) -> None:
        """Give the connection up if no less waits now than at the last look, else look again later."""
        now_waiting = self.transport.get_write_buffer_size()
        if waiting_bytes is not None and now_waiting >= waiting_bytes:
            self.transport.abort()
        else:
            self._reader_timer = self.loop.call_later(self.limits.answer_stall_s, self._look_at_reader, now_waiting)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self.flow.read_paused:  # by us
            self._head_timer = self.loop.call_later(self.limits.head_s, self._head_is_late)
        elif self._is_in_head:
            self._refuse(CallTooSlow(f"The headers took longer than {self.limits.head_s:g} s. Send them at once."))
        else:
            self.transport.close()  # nothing was asked, so nothing is answered

    def _refuse(self, error: GatewayError) -> None:
        """Read nothing more, and tell the caller why, behind the answers to what came before.

        A call whose body broke off is told by the application: its next `receive` raises the error.
        """
        if self._is_ending():
            return
        self.refusal = error
        self._stop_head_timer()
        self.flow.resume_reading()  # what comes is thrown away, but the caller's leaving must be seen
        if self.cycle is None or self.cycle.response_complete:
            self._answer_refusal(error)
        elif self._is_in_body:
            self.cycle.message_event.set()

    def _answer_refusal(self, error: GatewayError) -> None:
        if self.transport.is_closing():
            return
        # Of the head that is being read, what is known already; the one before it is another request's.
        given = dict(self.headers) if self._is_in_head else {}
        own = [(b"x-request-id", request_id_of(given)), *self.cors.headers(given.get(b"origin"))]
        is_head = self._is_in_head and self.parser.get_method() == b"HEAD"
        self.transport.write(_as_bytes(error, own, has_body=not is_head))
        self.linger()


class _Call:
    """The application, called once, with what it receives and sends watched."""

    def __init__(self, protocol: GuardedProtocol, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401
        self._protocol = protocol
        self._cycle = cycle
        self._app = app
        self._limits = protocol.limits
        self._allowance_s = protocol.limits.body_patience_s

    async def __call__(self, _scope: Any, _receive: object, _send: object) -> None:  # noqa: ANN401
        await self._app(self._cycle.scope, self._receive, self._send)

    async def _receive(self) -> Any:  # noqa: ANN401 - uvicorn's type
        if not self._cycle.more_body:
            return await self._cycle.receive()
        self._raise_if_broken()
        clock = self._protocol.loop.time
        began = clock()
        try:
            async with asyncio.timeout(self._allowance_s):
                message: Any = await self._cycle.receive()
        except TimeoutError:
            raise CallTooSlow(
                f"The body came slower than {self._limits.body_bytes_per_s / 1000:g} kB a second. Send it again."
            ) from None
        self._raise_if_broken()
        refill_s = len(message.get("body", b"")) / self._limits.body_bytes_per_s
        self._allowance_s = min(self._limits.body_patience_s, self._allowance_s - (clock() - began) + refill_s)
        return message

    def _raise_if_broken(self) -> None:
        """Raise why this call's body cannot be read to its end."""
        if self._cycle.more_body and not self._cycle.disconnected and self._protocol.refusal is not None:
            raise self._protocol.refusal

    async def _send(self, message: Message) -> None:
        if self._protocol.transport.is_closing():
            # Nobody reads it any more. A write would raise, and be logged as if it were a defect.
            self._cycle.disconnected = True
        if message["type"] == "http.response.start" and self._cycle.more_body:
            headers = [header for header in message.get("headers", ()) if header[0].lower() != b"connection"]
            message = {**message, "headers": [*headers, (b"connection", b"close")]}
            self._cycle.transport = _LastWords(self._protocol)  # type: ignore[assignment]
        await self._cycle.send(message)  # type: ignore[arg-type]


class _LastWords:
    """Stands for the transport of a call that is answered before it was read: closing it lingers."""

    def __init__(self, protocol: GuardedProtocol) -> None:
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        self._protocol.linger()


def _as_bytes(error: GatewayError, own: Headers, *, has_body: bool) -> bytes:
    """The whole answer, with these headers besides. To HEAD without its body, which would be taken for more answers."""
    answer = answer_to(error)
    lines = [b"%s: %s\r\n" % header for header in (*answer.raw_headers, *own, (b"connection", b"close"))]
    status = HTTPStatus(answer.status_code)
    first = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    return b"".join([first, *lines, b"\r\n", bytes(answer.body) if has_body else b""])
