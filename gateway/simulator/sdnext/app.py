"""The ASGI app: routes, credentials, threads, rate limit and error shapes around the engine.

The order on one screen, outside in: inspection, faults, processing time, gzip, FastAPI. A route first has its JSON
parsed, then asks for credentials, then takes a thread, and is counted against the rate limit when it has finished.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.middleware.gzip import GZipMiddleware

from gateway.simulator.sdnext.control import add_control_routes
from gateway.simulator.sdnext.failures import Crashed, RateLimited, Refused, SimulatedFailure
from gateway.simulator.sdnext.fault_middleware import FaultMiddleware
from gateway.simulator.sdnext.inspection import InspectionMiddleware
from gateway.simulator.sdnext.routes_reads import add_open_routes, add_read_routes
from gateway.simulator.sdnext.routes_work import add_work_routes
from gateway.simulator.sdnext.simulation import Simulation, build_simulation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.simulator.sdnext.simulation_options import SimulationOptions


def create_simulated_sdnext(options: SimulationOptions) -> FastAPI:
    """A simulated SD.Next as an ASGI app; its parts are at `app.state.simulation`. Nothing runs until it is called."""
    simulation = build_simulation(options)
    app = FastAPI(title="SD.Next", redoc_url="/redocs", separate_input_output_schemas=False)
    app.state.simulation = simulation
    guarded = APIRouter(
        route_class=_Route, dependencies=[Depends(_check_credentials), Depends(_thread, scope="function")]
    )
    add_work_routes(guarded, simulation)
    add_read_routes(guarded, simulation)
    app.include_router(guarded)
    public = APIRouter()
    add_open_routes(public)
    if options.inspect:
        add_control_routes(public, simulation)
    app.include_router(public)
    app.add_exception_handler(SimulatedFailure, _answer_failure)
    app.add_middleware(GZipMiddleware, minimum_size=2048)
    app.add_middleware(_ProcessTime, simulation=simulation)
    app.add_middleware(FaultMiddleware, simulation=simulation)
    if options.inspect:
        app.add_middleware(InspectionMiddleware, log=simulation.received)
    return app


def _simulation(request: Request) -> Simulation:
    found: Simulation = request.app.state.simulation
    return found


async def _check_credentials(request: Request) -> None:
    """HTTP Basic. Runs after the JSON was parsed and before it is validated, as on the real server."""
    wanted = _simulation(request).options.auth
    if wanted is None:
        return
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(encoded, validate=True).decode() if scheme.lower() == "basic" else ""
    except (binascii.Error, ValueError):
        given = ""
    if ":" not in given:
        raise Refused(401, "Not authenticated")
    if given != wanted:
        raise Refused(401, "Unauthorized")


async def _thread(request: Request) -> AsyncIterator[None]:
    """A thread for the time of the call; waits when all are taken, and while a load stalls the whole process."""
    simulation = _simulation(request)
    counters = simulation.engine.counters
    async with simulation.threads.one():
        await simulation.engine.wait_out_stall()
        counters.in_flight += 1
        counters.most_in_flight = max(counters.most_in_flight, counters.in_flight)
        try:
            yield
        finally:
            counters.in_flight -= 1


class _Route(APIRoute):
    """A route that is counted against the rate limit after it has done its work."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def limited(request: Request) -> Response:
            simulation = _simulation(request)
            # The limit of before the work: a request that lowers it is not yet judged by it (observed).
            limit = simulation.engine.server_options.get("server_rate_limit")
            address = request.client.host if request.client else ""
            try:
                return await handle(request)
            finally:
                # Whatever came of it: over the limit this exception takes the place of an answer or a failure.
                simulation.limiter.check(address, request.url.path, limit, simulation.clock.now())

        return limited


async def _answer_failure(request: Request, failure: Exception) -> Response:
    if not isinstance(failure, SimulatedFailure):
        raise failure
    if isinstance(failure, (Crashed, RateLimited)):
        raise failure  # answered by `_ProcessTime`, outside of gzip
    return JSONResponse(failure.body, failure.status)


class _ProcessTime:
    """Adds `x-process-time` to all replies but crashes and 429s, which it answers itself: no time, never gzipped."""

    def __init__(self, app: ASGIApp, simulation: Simulation) -> None:
        self._app = app
        self._clock = simulation.clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock.now()

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds = f"{self._clock.now() - started:.4f}".encode()
                message["headers"] = [*message.get("headers", []), (b"x-process-time", seconds)]
            await send(message)

        try:
            await self._app(scope, receive, timed)
        except SimulatedFailure as failure:
            await JSONResponse(failure.body, failure.status)(scope, receive, send)
