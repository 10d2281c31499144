"""A simulated server on a socket, inside a running event loop or as a process of its own.

uvicorn's protocol does HTTP and closes idle connections after 5.00 s as the real server does; the listening socket is
ours, so that the server can refuse, die in mid-job and come back on the same port.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import signal
import socket
from typing import TYPE_CHECKING, Any, Self

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.simulator.sdnext.app import create_simulated_sdnext

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from gateway.simulator.sdnext.simulation import Simulation
    from gateway.simulator.sdnext.simulation_options import SimulationOptions

_KEEP_ALIVE_S = 5


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol that also shows its transport to the app, for faults of the connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)

    def on_headers_complete(self) -> None:
        date = email.utils.formatdate(usegmt=True).encode()
        self.server_state.default_headers = [(b"date", date), (b"server", b"uvicorn")]
        super().on_headers_complete()


class SimulatedServer:
    """A simulated SD.Next listening on `host:port` (0: any free port), or on a socket that listens already. Use it with
    `async with`.
    """

    def __init__(
        self,
        options: SimulationOptions,
        host: str = "127.0.0.1",
        port: int = 0,
        listening: socket.socket | None = None,
    ) -> None:
        self.app = create_simulated_sdnext(options)
        self.simulation: Simulation = self.app.state.simulation
        self.exit_status: int | None = None
        self._host, self._port = host, port
        self._listening = listening
        self._state = ServerState()
        self._listener: asyncio.Server | None = None
        self._dead = asyncio.Event()
        self._back: asyncio.TimerHandle | None = None
        self.simulation.engine.power.die = self.die
        self.simulation.engine.power.refuse = self.refuse

    @property
    def port(self) -> int:
        """The port it listens on, or listened on last."""
        return self._port

    @property
    def url(self) -> str:
        """Where it answers, without a slash at the end."""
        return f"http://{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def accept(self) -> None:
        """Listen, also again after `refuse`. Raises OSError if the port is taken."""
        config = Config(
            self.app, lifespan="off", log_config=None, access_log=False, ws="none", timeout_keep_alive=_KEEP_ALIVE_S
        )
        config.load()
        loop = asyncio.get_running_loop()

        def connection() -> asyncio.Protocol:
            return _Protocol(config=config, server_state=self._state, app_state={}, _loop=loop)

        if self._listening is not None:  # a copy, as what listens is closed by `refuse`
            self._listener = await loop.create_server(connection, sock=self._listening.dup(), backlog=2048)
        else:
            self._listener = await loop.create_server(connection, self._host, self._port, backlog=2048)
        self._port = self._listener.sockets[0].getsockname()[1]

    def refuse(self, seconds: float | None = None) -> None:
        """Drop all connections and listen no more; come back after real `seconds`, or on `accept`."""
        self._drop()
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._back = loop.call_later(seconds, lambda: self._state.tasks.add(loop.create_task(self.accept())))

    def die(self, status: int) -> None:
        """End as a killed process does: connections dropped, nothing answered, refused from now on."""
        self.exit_status = status
        self._drop()
        self._dead.set()

    async def stop(self) -> None:
        """Stop listening, drop connections, end every request; returns when all is gone."""
        if self._back is not None:
            self._back.cancel()
        self._drop()
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def wait_dead(self) -> int:
        """Wait until it died by itself; returns the exit status and leaves it stopped."""
        await self._dead.wait()
        await self.stop()
        return self.exit_status or 0

    def _drop(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in list(self._state.connections):
            transport: Any = connection.transport
            transport.abort()


async def serve_until_ended(server: SimulatedServer, announce: Callable[[str], None]) -> int:
    """Serve until SIGTERM, SIGINT or a simulated death; returns the exit status. Open connections are dropped.

    `announce` is told the address once it answers. Raises OSError if the port is taken.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows has no signal handlers in its loops
            loop.add_signal_handler(number, server.die, 0)
    async with server:
        announce(f"simulated SD.Next on {server.url}")
        return await server.wait_dead()


def run_until_ended(make: Callable[[], SimulatedServer], announce: Callable[[str], None]) -> int:
    """`serve_until_ended` on a new event loop, uvloop's where there is one."""

    async def serve() -> int:
        return await serve_until_ended(make(), announce)

    with asyncio.Runner(loop_factory=Config("").get_loop_factory()) as runner:
        return runner.run(serve())
