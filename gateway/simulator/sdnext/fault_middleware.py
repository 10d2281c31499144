"""Carries faults out on real connections. Everything here happens around the app; what goes wrong inside a job is
passed on in the scope and done by `generation`.

Connection faults need the transport, which `listener` puts into the scope; without one (an app called in-process) they
raise ConnectionResetError instead.
"""

from __future__ import annotations

import gzip
import socket
import struct
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, JSONResponse

from gateway.simulator.sdnext.failures import Crashed, RateLimited, Refused, SimulatedFailure
from gateway.simulator.sdnext.inspection import CONTROL_PREFIX

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.simulator.sdnext.faults import Fault
    from gateway.simulator.sdnext.simulation import Simulation

INSIDE = frozenset({"empty", "wrong-model", "oom"})
_PROXY_PAGE = "<!DOCTYPE html><html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>"


class FaultMiddleware:
    """Draws a fault for every request and does it."""

    def __init__(self, app: ASGIApp, simulation: Simulation) -> None:
        self._app = app
        self._simulation = simulation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or do to it what its fault says."""
        is_ours = scope["type"] == "http" and not scope["path"].startswith(CONTROL_PREFIX)
        fault = self._simulation.faults.draw(scope["path"], self._simulation.clock.now()) if is_ours else None
        if fault is None or fault.name in INSIDE:
            scope.setdefault("state", {})["fault"] = fault.name if fault else ""
            await self._app(scope, receive, send)
        elif fault.name in ("reset", "refuse", "oom-kill", "hang"):
            await self._lose(fault, scope, receive)
        elif fault.name in ("truncated", "cut-json", "bad-utf8", "reset-mid", "gzip"):
            await self._spoil(fault, scope, receive, send)
        else:
            await self._answer_instead(fault, scope, receive, send)

    async def _lose(self, fault: Fault, scope: Scope, receive: Receive) -> None:
        """No answer at all."""
        power = self._simulation.engine.power
        if fault.name == "refuse":
            power.refuse(None if fault.seconds is None else self._simulation.clock.scaled(fault.seconds))
        elif fault.name == "oom-kill":
            await _body(receive)
            power.die(137)
        elif fault.name == "reset":
            _reset(scope)
        await _until_gone(receive)

    async def _answer_instead(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        """Another answer than the app's, or a late one."""
        if fault.name == "slow":
            await self._simulation.clock.sleep(fault.seconds if fault.seconds is not None else 10.0)
            await self._app(scope, receive, send)
            return
        await _body(receive)
        if fault.name == "html":
            await HTMLResponse(_PROXY_PAGE, fault.status)(scope, receive, send)
            return
        failure = self._failure(fault, scope)
        await JSONResponse(failure.body, failure.status)(scope, receive, send)

    def _failure(self, fault: Fault, scope: Scope) -> SimulatedFailure:
        if fault.name == "401":
            return Refused(401, "Not authenticated")
        if fault.name == "429":
            return RateLimited((scope.get("client") or ("",))[0], scope["path"])
        return Crashed("RuntimeError", "simulated failure")

    async def _spoil(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        """The app's own answer, broken on its way out; the work has been done."""
        start, body = await self._whole_answer(scope, receive)
        if fault.name == "gzip":
            body = gzip.compress(body, 1)
            start["headers"] = [*_without(start, b"content-length"), (b"content-encoding", b"gzip"), _length(body)]
        elif fault.name == "cut-json":
            body = body[: len(body) // 2]
            start["headers"] = [*_without(start, b"content-length"), _length(body)]
        elif fault.name == "bad-utf8":
            body = body.replace(b'"', b'"\xff', 1) if b'"' in body else b'"\xff"'
            start["headers"] = [*_without(start, b"content-length"), _length(body)]
        await send(start)
        if fault.name in ("gzip", "cut-json", "bad-utf8"):
            await send({"type": "http.response.body", "body": body})
            return
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        if fault.name == "reset-mid":
            _reset(scope)
        else:
            _transport(scope).close()
        await _until_gone(receive)

    async def _whole_answer(self, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, keep)
        return messages[0], b"".join(message.get("body", b"") for message in messages[1:])


def _without(start: Message, name: bytes) -> list[tuple[bytes, bytes]]:
    return [(k, v) for k, v in start["headers"] if k.lower() != name]


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()


def _transport(scope: Scope) -> Any:  # noqa: ANN401 - asyncio's and uvloop's transports share no base with get_extra_info
    transport = scope.get("state", {}).get("transport")
    if transport is None:
        raise ConnectionResetError("simulated fault: the connection is gone")
    return transport


def _reset(scope: Scope) -> None:
    """Close with RST instead of FIN, as the kernel does for a process that died."""
    transport = _transport(scope)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _body(receive: Receive) -> None:
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass


async def _until_gone(receive: Receive) -> None:
    """Wait until the client has gone; the server itself never ends this."""
    while (await receive())["type"] != "http.disconnect":
        continue
