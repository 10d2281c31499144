"""The other end of a connection, for tests of the protocol: what is written to it, and an application behind it.

Its handlers pause: tests that use it are marked `virtual_time`.
"""

from __future__ import annotations

import asyncio
import contextlib

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from uvicorn import Config
from uvicorn.server import ServerState

from gateway.api.errors import on_gateway_error
from gateway.domain.errors import GatewayError, Unauthenticated
from gateway.launcher.protocol import GuardedProtocol, Limits

LIMITS = Limits(head_bytes=1_000, head_s=10, body_bytes_per_s=1_000, body_patience_s=20, linger_s=5)
GET = b"GET /quick HTTP/1.1\r\nHost: h\r\n\r\n"


class Wire(asyncio.Transport):
    """What was written to it, whether it is closed, and which calls the application received over it."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.has_eof, self.is_closed, self.is_paused = b"", False, False, False
        self.waiting_bytes, self.is_aborted = 0, False
        self.calls = []

    def get_extra_info(self, name, default=None):
        return {"peername": ("192.0.2.1", 4711), "sockname": ("192.0.2.9", 80)}.get(name, default)

    def write(self, data):
        assert not self.is_closed
        assert not self.has_eof
        self.written += data

    def get_write_buffer_size(self):
        return self.waiting_bytes

    def abort(self):
        self.is_aborted = True

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.has_eof = True

    def close(self):
        self.is_closed = True

    def is_closing(self):
        return self.is_closed

    def pause_reading(self):
        self.is_paused = True

    def resume_reading(self):
        self.is_paused = False


async def read(request):
    return PlainTextResponse(str(len(await request.body())))


async def echo(request):
    return PlainTextResponse(request.method.encode() + b" " + await request.body())


async def seen(request):
    """Which headers the call had when all of its body was read."""
    await request.body()
    return PlainTextResponse(" ".join(name for name in request.headers if name.startswith("x-")))


async def quick(request):
    return PlainTextResponse("quick")


async def refuse(request):
    raise Unauthenticated("A key is needed.")


async def busy_first(request):
    await asyncio.sleep(300)
    return PlainTextResponse(str(len(await request.body())))


async def watch(request):
    """As long as a generation: the caller's going is watched for."""
    await request.body()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(300):
            await request.receive()
    return PlainTextResponse("watched")


class Slow(GuardedProtocol):
    limits = LIMITS


HANDLERS = {"/read": read, "/echo": echo, "/seen": seen, "/quick": quick, "/refuse": refuse, "/busy": busy_first}
HANDLERS |= {"/watch": watch}
APP = Starlette(
    routes=[Route(path, handler, methods=["GET", "POST"]) for path, handler in HANDLERS.items()],
    exception_handlers={GatewayError: on_gateway_error},
)
CONFIG = Config(APP, http=Slow, ws="none", lifespan="off", log_config=None, timeout_keep_alive=75)
CONFIG.load()


def connected():
    protocol, wire = Slow(CONFIG, ServerState(), {}, _loop=asyncio.get_running_loop()), Wire()

    async def recorded(scope, receive, send):
        wire.calls.append(f"{scope['method']} {scope['path']}")
        await APP(scope, receive, send)

    protocol.app = recorded
    protocol.connection_made(wire)
    return protocol, wire


async def settled():
    """Every task has gone as far as it can without more bytes; a moment passes."""
    await asyncio.sleep(0.001)


def status_of(wire):
    return int(wire.written.split(b" ")[1])


def headers_of(wire):
    head = wire.written.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}


def body_of(wire):
    return wire.written.rpartition(b"\r\n\r\n")[2]


def post(path, body=b"", length=None, *extra):
    length = len(body) if length is None else length
    return b"\r\n".join([b"POST %s HTTP/1.1" % path, b"Host: h", b"Content-Length: %d" % length, *extra, b"", body])


def answers_of(wire):
    """(status, body) of every answer, interim ones too. Fails where what was written is not a row of whole answers."""
    answers, rest = [], wire.written
    while rest:
        top, end, rest = rest.partition(b"\r\n\r\n")
        assert end, top
        first, *lines = top.split(b"\r\n")
        assert first.startswith(b"HTTP/1.1 "), first
        headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
        length = int(headers.get(b"content-length", b"0"))
        assert len(rest) >= length
        answers.append((int(first.split(b" ")[1]), rest[:length]))
        rest = rest[length:]
    return answers
