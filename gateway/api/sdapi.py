"""The generation routes: the raw body in, the raw answer out. Nothing of an image is decoded on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.bodies import read_body
from gateway.api.credentials import caller_of, presented
from gateway.api.errors import CallerLeft
from gateway.api.keep_alive import kept_alive
from gateway.api.rates import rate_headers
from gateway.api.sending import PartsResponse
from gateway.domain.jobs import Operation
from gateway.flow.serve import Call, Gateway, Served
from gateway.ports.tracing import UNTRACED

T = TypeVar("T")


class GenerationRoutes:
    """One handler for each operation."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def handler(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        """The handler of one operation."""

        async def handle(request: Request) -> Response:
            caller = await caller_of(request, self._gateway.authenticator)
            began = _now()
            body = await read_body(request, caller, caller.plan.caps.body_bytes)
            request.state.body_s = _now() - began
            return await kept_alive(request, caller.plan, self._answer(request, call_of(request, operation, body)))

        # Read by the description of the interface.
        handle.operation = operation  # type: ignore[attr-defined]
        return handle

    async def _answer(self, request: Request, call: Call) -> Response:
        served = await while_connected(request, self._gateway.serve(call))
        timing = served.timing
        request.state.waited_s = timing.queue_s + timing.swap_s + timing.generation_s  # the rest is our own
        return answer_of(served, spent(request))


def call_of(request: Request, operation: Operation, body: bytes) -> Call:
    """The call for a job that this request makes, by whoever makes it."""
    credential, origin = presented(request)
    state = request.scope["state"]
    return Call(
        operation, body, credential, state["request_id"], origin, state.get("trace", UNTRACED), held=state["held"]
    )


def spent(request: Request) -> dict[str, float]:
    """Seconds since the request arrived (`all`), and those that went to its key and its body."""
    state = request.state
    return {"all": _now() - state.arrived_at, "auth": state.auth_s, "body": state.body_s}


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


def answer_of(served: Served, spent_s: Mapping[str, float]) -> Response:
    """The answer with its headers: ids, adjustments, where the time went, what is left of the rate."""
    timing = served.timing
    parts = {
        "auth": spent_s["auth"],
        "body": spent_s["body"],
        "queue": timing.queue_s,
        "swap": timing.swap_s,
        "generate": timing.generation_s,
    }
    parts["gateway"] = max(0.0, spent_s["all"] - sum(parts.values()))
    headers = {
        "X-Job-Id": served.job_id,
        "Server-Timing": ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in parts.items()),
        **rate_headers(served.caller.plan, served.rate.remaining, served.rate.reset_s),
    }
    if served.adjustments:
        headers["X-Gateway-Adjusted"] = ", ".join(served.adjustments)
    return PartsResponse(served.body, headers)


def _now() -> float:
    return asyncio.get_running_loop().time()
