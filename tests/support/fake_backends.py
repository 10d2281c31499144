"""Simulated SD.Next servers without sockets: the flow's `BackendClient` in tests that run in virtual time.

There is no second model of SD.Next here: each server is the simulator's own ASGI app on the test's loop. What is added
is the wire: refused and broken connections, time-outs, and that a server goes on working when its caller is gone.
They need the `VirtualTimeLoop`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx2

from gateway.domain.backends import Backend
from gateway.domain.errors import BackendBroke, BackendTimedOut, BackendUnreachable
from gateway.domain.jobs import Operation
from gateway.ports import AnswerBounds, RawReply
from gateway.simulator.sdnext.app import create_simulated_sdnext
from gateway.simulator.sdnext.faults import Fault, parse_fault
from gateway.simulator.sdnext.simulation_options import SimulationOptions

TRIP_S = 0.001  # each way between gateway and backend
RED, BLUE = "Diffusers/red", "Diffusers/blue"
STEP_S = 1.0  # of one 64x64 step


def sdnext(*models: str, **changes: Any) -> SimulationOptions:
    """A server on which a step of 64x64 pixels takes a second, and a swap five."""
    speed = {"seconds_per_megapixel_step": STEP_S / 0.004096, "swap_seconds": 5.0}
    return SimulationOptions(models=models or (RED, BLUE), **(speed | changes))


class SimulatedServer:
    """One simulated SD.Next and its open connections."""

    def __init__(self, options: SimulationOptions) -> None:
        self.options = options
        self.app = create_simulated_sdnext(options)
        self.simulation = self.app.state.simulation
        self.engine = self.simulation.engine
        self.is_refusing = False
        self.open: set[asyncio.Future[RawReply]] = set()
        self._transport = httpx2.ASGITransport(self.app, client=("127.0.0.1", 50000))
        self.engine.power.die = lambda _status: self.end()
        self.engine.power.refuse = lambda _seconds: self.end()

    def start_anew(self) -> None:
        """Another process on the same port, with the options it was first started with; it may begin at once."""
        self.end()
        self.__init__(self.options)  # type: ignore[misc]

    def end(self) -> None:
        """The process is gone: open connections break, new ones are refused."""
        self.is_refusing = True
        self.break_connections()

    def break_connections(self) -> None:
        """Every open call breaks, as when the network does; what the server does for them goes on."""
        for reply in self.open:
            if not reply.done():
                reply.set_exception(BackendBroke("The backend broke off before its answer was complete."))

    def arm(self, fault: str) -> None:
        """Let a fault befall requests from now on, written as the simulator's `--fault`."""
        self.simulation.faults.arm(parse_fault(fault) if isinstance(fault, str) else fault)

    def arm_once(self, name: str, **where: Any) -> None:
        """Let a fault befall the next request that it fits."""
        self.simulation.faults.arm(Fault(name, times=1, **where))

    def received(self, route: str) -> list[dict[str, Any]]:
        """What came under `/sdapi/v1/ROUTE`, in order."""
        return self.simulation.received.listing(f"/sdapi/v1/{route}")

    async def answer(self, request: httpx2.Request, reply: asyncio.Future[RawReply]) -> None:
        """Work on a request to its end, whether or not anybody waits for the reply."""
        try:
            response = await self._transport.handle_async_request(request)
            body = await response.aread()
        except ConnectionResetError:
            if not reply.done():
                reply.set_exception(BackendBroke("The backend broke off before its answer was complete."))
            return
        if not reply.done():
            head = response.headers
            reply.set_result(
                RawReply(response.status_code, body, head.get("content-type", ""), head.get("content-encoding", ""))
            )


class SimulatedBackends:
    """The pool of a test by name, and the client that reaches it. Fulfils `BackendClient`."""

    def __init__(self, pool: Mapping[str, SimulationOptions]) -> None:
        self.servers = {name: SimulatedServer(options) for name, options in pool.items()}
        self.declared = {name: Backend(name, f"http://{name}.test") for name in pool}
        self._working: set[asyncio.Task[None]] = set()
        self._broken: list[BaseException | None] = []

    def __getitem__(self, name: str) -> SimulatedServer:
        return self.servers[name]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._working:
            task.cancel()
        ended = await asyncio.gather(*self._working, return_exceptions=True)
        broken = [end for end in ended + self._broken if isinstance(end, Exception)]
        assert error is not None or broken == [], f"the simulator itself failed: {broken!r}"

    async def generate(self, backend: Backend, operation: Operation, body: bytes, bounds: AnswerBounds) -> RawReply:
        """Send one job and read the whole answer."""
        return await self._request(backend, "POST", f"/sdapi/v1/{operation}", body, bounds.run_limit_s)

    async def get(self, backend: Backend, path: str, timeout_s: float) -> RawReply:
        """Read a route of the backend."""
        return await self._request(backend, "GET", path, b"", timeout_s)

    async def post(self, backend: Backend, path: str, body: bytes, timeout_s: float) -> RawReply:
        """Post to a route of the backend."""
        return await self._request(backend, "POST", path, body, timeout_s)

    async def _request(self, backend: Backend, method: str, path: str, body: bytes, timeout_s: float) -> RawReply:
        await asyncio.sleep(TRIP_S)
        server = self.servers[backend.name]
        if server.is_refusing:
            raise BackendUnreachable("The backend cannot be reached.")
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        request = httpx2.Request(method, f"http://sdnext.test{path}", content=body or None, headers=headers)
        reply: asyncio.Future[RawReply] = asyncio.get_running_loop().create_future()
        server.open.add(reply)
        task = asyncio.get_running_loop().create_task(server.answer(request, reply), name=f"{backend.name} {path}")
        self._working.add(task)
        task.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(timeout_s):
                return await reply
        except TimeoutError:
            raise BackendTimedOut(f"The backend gave no answer within {timeout_s:.0f} s.") from None
        finally:
            server.open.discard(reply)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._working.discard(task)
        self._broken.append(None if task.cancelled() else task.exception())
