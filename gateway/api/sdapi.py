"""The generation routes: the raw body in, the raw answer out. Nothing of an image is decoded on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.credentials import credential_of
from gateway.api.errors import json_response
from gateway.domain.errors import BodyTooLarge
from gateway.domain.jobs import Operation
from gateway.domain.plans import Caps
from gateway.flow.serve import Call, Gateway, Served

T = TypeVar("T")
MOST_BODY_BYTES = Caps().body_bytes


class CallerLeft(Exception):
    """The caller closed the connection before the answer was there; there is nobody to tell."""


class GenerationRoutes:
    """One handler for each operation."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def handler(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        """The handler of one operation."""

        async def handle(request: Request) -> Response:
            credential = credential_of(request.headers)
            await self._gateway.authenticator.authenticate(credential)  # before a byte of the body is asked for
            call = Call(operation, await read_body(request), credential, request.state.request_id)
            served = await while_connected(request, self._gateway.serve(call))
            timing = served.timing
            request.state.waited_s = timing.queue_s + timing.swap_s + timing.generation_s  # the rest is our own
            return answer_of(served)

        return handle


async def read_body(request: Request) -> bytes:
    """The whole body. Raises BodyTooLarge, from its announced length before it is read where there is one."""
    announced = request.headers.get("content-length", "")
    too_large = BodyTooLarge(f"The body is larger than {MOST_BODY_BYTES // 1_000_000} MB. Send smaller images.")
    if announced.isascii() and announced.isdecimal() and int(announced) > MOST_BODY_BYTES:
        raise too_large
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MOST_BODY_BYTES:
            raise too_large
        chunks.append(chunk)
    return b"".join(chunks)


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """The work's result. If the caller leaves first the work is cancelled, ends in order, and CallerLeft is raised."""
    has_left, error = False, None
    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(_raise_when_gone(request))
            try:
                result = await work
            except Exception as failed:  # noqa: BLE001 - kept out of the group, to be raised as it is
                error = failed
            watching.cancel()
    except* CallerLeft:
        has_left = True
    if has_left:
        raise CallerLeft from error
    if error is not None:
        raise error
    return result


async def _raise_when_gone(request: Request) -> None:
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise CallerLeft


def answer_of(served: Served) -> Response:
    """The answer with its headers: ids, adjustments, where the time went, what is left of the rate."""
    timing, plan = served.timing, served.caller.plan
    parts = {"queue": timing.queue_s, "swap": timing.swap_s, "generate": timing.generation_s}
    headers = {
        "X-Job-Id": served.job_id,
        "Server-Timing": ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in parts.items()),
        "RateLimit-Policy": f'"requests";q={plan.burst};w={round(60 * plan.burst / plan.requests_per_minute)}',
        "RateLimit": f'"requests";r={served.rate.remaining};t={round(served.rate.reset_s)}',
    }
    if served.adjustments:
        headers["X-Gateway-Adjusted"] = ", ".join(served.adjustments)
    return json_response(served.body, headers=headers)
