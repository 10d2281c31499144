"""Counts every HTTP call: route, status, why it was refused, its bytes, and what of its time was the gateway's own."""

from __future__ import annotations

import time
from types import MappingProxyType

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.ports.metrics import EndedCall, Meter

# The last part of a path below /sdapi/v1 or /v1 -> the route's name as a label; everything else is one of three words.
_ROUTES = MappingProxyType(
    {
        "txt2img": "txt2img",
        "img2img": "img2img",
        "extra-single-image": "upscale",
        "upscale-img": "upscale",
        "options": "options",
        "img-options": "options",
        "progress": "progress",
        "interrupt": "interrupt",
        "skip": "interrupt",
        "livez": "health",
        "readyz": "health",
    }
)
NOT_FOUND = 404


class Measuring:
    """Outermost of the middlewares; does nothing until the application's state has a `meter`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on and count it when it is over, however it ends."""
        meter = getattr(scope["app"].state, "meter", None) if scope["type"] == "http" else None
        if meter is None:
            await self._app(scope, receive, send)
            return
        call = _Call(meter, receive, send)
        try:
            await self._app(scope, call.receive, call.send)
        except Exception:
            call.status = call.status or 500
            raise
        finally:
            call.end(scope)


class _Call:
    """One call under way. Times by `time.perf_counter`."""

    __slots__ = ("_answered_at", "_began_at", "_body_at", "_in", "_meter", "_out", "_receive", "_send", "status")

    def __init__(self, meter: Meter, receive: Receive, send: Send) -> None:
        self._meter, self._receive, self._send = meter, receive, send
        self._began_at = self._body_at = time.perf_counter()
        self._answered_at = 0.0
        self._in = self._out = 0
        self.status = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self._in += size
            self._meter.bytes_held(size)
            self._body_at = time.perf_counter()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._answered_at = time.perf_counter()
        else:
            self._out += len(message.get("body", b""))
        await self._send(message)

    def end(self, scope: Scope) -> None:
        state = scope.get("state", {})
        waited_s = state.get("waited_s")
        has_own = waited_s is not None and self._answered_at > 0
        self._meter.bytes_held(-self._in)
        self._meter.call_ended(
            EndedCall(
                route=route_of(scope["path"], self.status),
                status=self.status,
                reason=state.get("reason", ""),
                seconds=time.perf_counter() - self._began_at,
                own_s=max(0.0, self._answered_at - self._body_at - waited_s) if has_own else None,
                bytes_in=self._in,
                bytes_out=self._out,
            )
        )


def route_of(path: str, status: int) -> str:
    """The route's name as a label: an operation, `options`, `progress`, `interrupt`, `health`, `admin`, `lists`, or
    `unknown` where there is no such route.
    """
    if path.startswith("/admin"):
        return "admin"
    known = _ROUTES.get(path.rpartition("/")[2])
    if known is not None:
        return known
    return "unknown" if status == NOT_FOUND else "lists"
