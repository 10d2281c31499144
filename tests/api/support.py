"""A small application behind the real edge, asked without a socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.addresses import Network
from gateway.api.compression import Compression
from gateway.api.cors import Cors
from gateway.api.errors import on_gateway_error, on_http_error
from gateway.api.middleware import Edge
from gateway.api.sending import Holding
from gateway.domain.errors import GatewayError
from gateway.flow.byte_budget import ByteBudget

Handler = Callable[[Request], Awaitable[Response]]
GONE = {"type": "http.disconnect"}


class Lines:
    """A log that is kept."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.warnings: list[dict[str, Any]] = []
        self.failures: list[tuple[str, BaseException, dict[str, Any]]] = []

    def call(self, **fields: Any) -> None:
        self.calls.append(fields)

    def tell(self, event: str, **fields: Any) -> None:
        self.warnings.append({"event": event, **fields})

    def warn(self, event: str, **fields: Any) -> None:
        self.warnings.append({"event": event, **fields})

    def failed(self, event: str, error: BaseException, **fields: Any) -> None:
        self.failures.append((event, error, fields))


def application(
    routes: dict[str, Handler],
    log: Lines | None = None,
    origins: tuple[str, ...] = ("*",),
    trusted: Sequence[Network] = (),
    methods: Sequence[str] = ("GET", "POST"),
) -> Starlette:
    """These handlers, each for these methods, behind the edge."""
    return Starlette(
        routes=[Route(path, handler, methods=list(methods)) for path, handler in routes.items()],
        exception_handlers={GatewayError: on_gateway_error, HTTPException: on_http_error},
        middleware=[
            Middleware(Edge, cors=Cors(origins), trusted=trusted, log=log or Lines()),
            Middleware(Holding),
            Middleware(Compression),
        ],
    )


@contextlib.asynccontextmanager
async def asking(app: Starlette, peer: str = "192.0.2.1") -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application that comes from this address."""
    app.router.redirect_slashes = False
    transport = httpx2.ASGITransport(app, client=(peer, 4711))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        yield client


def request_with(*messages: dict[str, Any], budget: ByteBudget | None = None, **headers: str) -> Request:
    """A request that receives these messages, then waits for ever; `left` has those not yet received."""
    left = list(messages)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    state = {"held": (budget or ByteBudget()).call()}
    request = Request({"type": "http", "method": "POST", "headers": raw, "state": state}, receive)
    request.scope["left"] = left
    return request
