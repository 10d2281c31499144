"""The generation routes: the raw body in, the raw answer out. Nothing of an image is decoded on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.api.credentials import caller_of, presented
from gateway.api.errors import CallerLeft, json_response
from gateway.api.keep_alive import kept_alive
from gateway.api.rates import rate_headers
from gateway.domain.errors import BodyTooLarge
from gateway.domain.jobs import Operation
from gateway.flow.byte_budget import ByteBudget, Held
from gateway.flow.serve import Call, Gateway, Served
from gateway.ports.tracing import UNTRACED

T = TypeVar("T")


class GenerationRoutes:
    """One handler for each operation."""

    def __init__(self, gateway: Gateway, byte_budget: ByteBudget | None = None) -> None:
        self._gateway = gateway
        self._byte_budget = byte_budget or ByteBudget()

    def handler(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        """The handler of one operation."""

        async def handle(request: Request) -> Response:
            caller = await caller_of(request, self._gateway.authenticator)
            most_bytes = caller.plan.caps.body_bytes
            began = _now()
            # Only now, and with room for it, is a byte of the body asked for.
            held = await self._byte_budget.take(caller.tenant_id, announced_bytes(request, most_bytes))
            try:
                body = await read_body(request, most_bytes)
                request.state.body_s = _now() - began
                held.correct(len(body))
            except BaseException:
                held.give_back()
                raise
            credential, origin = presented(request)
            state = request.scope["state"]
            call = Call(operation, body, credential, state["request_id"], origin, state.get("trace", UNTRACED))
            return await kept_alive(request, caller.plan, self._answer(request, call, held))

        # Read by the description of the interface.
        handle.operation = operation  # type: ignore[attr-defined]
        return handle

    async def _answer(self, request: Request, call: Call, held: Held) -> Response:
        try:
            served = await while_connected(request, self._gateway.serve(call))
            timing = served.timing
            request.state.waited_s = timing.queue_s + timing.swap_s + timing.generation_s  # the rest is our own
            answer = answer_of(served, spent(request))
        except BaseException:
            held.give_back()
            raise
        held.correct(len(answer.body))  # the request's body goes with this frame and the handler's
        return Holding(answer, held)


def spent(request: Request) -> dict[str, float]:
    """Seconds since the request arrived (`all`), and those that went to its key and its body."""
    state = request.state
    return {"all": _now() - state.arrived_at, "auth": state.auth_s, "body": state.body_s}


class Holding(Response):
    """An answer whose bytes are held until it has been sent, or cannot be."""

    def __init__(self, answer: Response, held: Held) -> None:
        self._answer = answer
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        try:
            await self._answer(scope, receive, send)
        finally:
            self._held.give_back()


def announced_bytes(request: Request, most_bytes: int) -> int:
    """The body's length as announced; the most it may have where nothing is, or more than that."""
    announced = request.headers.get("content-length", "")
    known = announced.isascii() and announced.isdecimal()
    return min(int(announced), most_bytes) if known else most_bytes


async def read_body(request: Request, most_bytes: int) -> bytes:
    """The whole body. Raises BodyTooLarge, from its announced length before it is read where there is one."""
    announced = request.headers.get("content-length", "")
    too_large = BodyTooLarge(f"The body is larger than {most_bytes / 1_000_000:g} MB. Send smaller images.")
    if announced.isascii() and announced.isdecimal() and int(announced) > most_bytes:
        raise too_large
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most_bytes:
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
    return json_response(served.body, headers=headers)


def _now() -> float:
    return asyncio.get_running_loop().time()
