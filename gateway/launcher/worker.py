"""One worker process: uvicorn on a given socket, and how it ends.

On SIGTERM: (1) for `drain_delay_s` it goes on accepting while the application knows (`app.state.is_draining`, so that
`/readyz` is 503) and every answer carries `Connection: close`; (2) it stops listening; (3) running calls go on for up
to `grace_s`; (4) those left are cancelled and answered 503; exit status 0. Each SIGINT goes on to the next of these
steps at once. A signal before it serves cancels its start. The application may end the process itself, with status 1:
`app.state.end_process(reason)`, or `app.state.cannot_start(reason)` where a restart would be of no use.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from types import FrameType
from typing import Any

import uvicorn

from gateway.api.errors import answer_to
from gateway.domain.errors import Draining
from gateway.launcher.protocol import protocol_for
from gateway.settings import Settings
from gateway.wiring.start import StartFailed

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

_KEEP_ALIVE_S = 75  # longer than balancers keep idle connections (nginx 60), so that they close first
_LOOK_EVERY_S = 0.05
_UNWIND_S = 5.0
_COLLECT_AFTER = 20_000  # objects more than were freed; Python's 700 are few calls' worth


def collect_seldom() -> None:
    """Leave to Python's collector only what is made from now on, and less often.

    What a start makes stays for good: looking through it again and again was a tenth of a small call's CPU, and most of
    its 99th percentile.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)


Tell = Callable[[str], None]
"""Takes the one sentence that says why no start can succeed."""


def tell_operator(sentence: str) -> None:
    """Write it to standard error."""
    sys.stderr.write(f"gateway: {sentence}\n")


def run_worker(
    settings: Settings, listener: socket.socket, parent: int | None = None, tell: Tell = tell_operator
) -> int:
    """Serve `settings.app` on `listener` until a signal; the exit status.

    With `parent`, the process id of the launcher, it also ends when that process is gone. `tell` gets the reason when
    it cannot start, nor could after a restart; the status is 1 then. Raises SystemExit(3) when the application fails
    otherwise, after uvicorn logged how.
    """
    module, _, factory = settings.app.partition(":")
    application = getattr(importlib.import_module(module), factory)(settings)
    server = WorkerServer(application, settings, parent, tell)
    with contextlib.suppress(asyncio.CancelledError):  # a start that a signal ended
        server.run(sockets=[listener])
    return server.status


class Gate:
    """The application as seen through the end of its process: answers that close, then refusals."""

    def __init__(self, application: Application, cannot_start: Callable[[str], None]) -> None:
        self._application = application
        self._cannot_start = cannot_start
        self.is_draining = False
        self.is_over = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass the call on. When it is cancelled because the grace is over and nothing was sent, answer 503."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self._application(scope, receive, send)

    async def _live(self, scope: Message, receive: Receive, send: Send) -> None:
        failed: list[Message] = []

        async def send_on(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":  # comes before its error, which says whether it is told
                failed.append(message)
            else:
                await send(message)

        try:
            await self._application(scope, receive, send_on)
        except StartFailed as error:
            self._cannot_start(str(error))
        except BaseException as error:
            if self.is_draining and isinstance(error, asyncio.CancelledError):  # a start that we ended ourselves
                return
            for message in failed:
                await send(message)
            raise

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_on(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                if self.is_draining:
                    message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        try:
            await self._application(scope, receive, send_on)
        except asyncio.CancelledError:
            # Only our own end of grace is turned into an answer; the task ends with it.
            if not self.is_over or has_begun:
                raise
            await _refuse(scope, send)


class WorkerServer(uvicorn.Server):
    """uvicorn that drains, refuses what is left when the grace is over, and exits with `status`."""

    def __init__(self, application: Any, settings: Settings, parent: int | None, tell_parent: Tell) -> None:  # noqa: ANN401 - FastAPI's type
        self.status = 0
        self._tell_parent = tell_parent
        self._state = application.state
        self._state.is_draining = False
        self._state.end_process = self.end_process
        self._state.cannot_start = self.cannot_start
        self._gate = Gate(application, self.cannot_start)
        self._settings = settings
        self._parent = parent
        self._log = getattr(application.state, "log", None)
        self._has_told_drain = False
        self._listen_until: float | None = None
        self._cancel_start: Callable[[], object] | None = None
        super().__init__(
            uvicorn.Config(
                self._gate,
                loop="auto",  # uvloop where there is one
                http=protocol_for(settings),
                ws="none",
                interface="asgi3",
                lifespan="on",
                log_config=None,
                log_level=settings.log_level,
                access_log=False,
                proxy_headers=False,  # trusted_proxies are the application's business
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
            )
        )

    def end_process(self, reason: str) -> None:
        """End this process with status 1, without the drain's delay: a loop it needs cannot be kept running."""
        sys.stderr.write(f"gateway: this process ends: {reason}\n")
        self.status = 1
        self._begin_drain(delay_s=0.0)

    def cannot_start(self, reason: str) -> None:
        """End this process with status 1 and the reason, which another start would not mend."""
        self._tell_parent(reason)
        self.status = 1
        self._begin_drain(delay_s=0.0)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On to the next step; a repeated SIGTERM changes nothing. Unlike uvicorn's, keeps the exit status ours."""
        if self._listen_until is None:
            self._begin_drain(delay_s=self._settings.drain_delay_s if sig == signal.SIGTERM else 0.0)
        elif sig == signal.SIGINT and not self.should_exit:
            self.should_exit = True
        elif sig == signal.SIGINT:
            self._gate.is_over = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and serve; CancelledError when a signal comes first."""
        starting, loop = asyncio.current_task(), asyncio.get_running_loop()
        if starting is None or self._listen_until is not None:
            raise asyncio.CancelledError
        # A signal handler runs between two steps of the loop and must wake it.
        self._cancel_start = lambda: loop.call_soon_threadsafe(starting.cancel)
        await super().startup(sockets)
        self._cancel_start = None
        self._tell("process_serving")
        collect_seldom()

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop listening now; asked ten times a second."""
        if self._parent is not None and os.getppid() != self._parent:
            self._begin_drain(delay_s=0.0)
        if self._gate.is_draining and not self._has_told_drain:  # not where it begins: that may be a signal's handler
            self._has_told_drain = True
            self._tell("process_draining")
        if self._listen_until is not None and time.monotonic() >= self._listen_until:
            return True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let running calls end within the grace, refuse those left, close the application."""
        self.should_exit = True  # from here on a SIGINT ends the grace
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._calls_ended(within_s=self._settings.grace_s)
        self._gate.is_over = True
        for task in self.server_state.tasks:
            task.cancel()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_UNWIND_S)
        await self.lifespan.shutdown()
        self._tell("process_stopped", status=self.status)

    def _tell(self, event: str, **fields: int) -> None:
        """A line in the application's log, where it has one."""
        if self._log is not None:
            self._log.tell(event, pid=os.getpid(), **fields)

    def _begin_drain(self, delay_s: float) -> None:
        if self._listen_until is None:
            self._state.is_draining = self._gate.is_draining = True
            self._listen_until = time.monotonic() + delay_s
            if self._cancel_start is not None:
                self._cancel_start()

    async def _calls_ended(self, within_s: float) -> None:
        until = time.monotonic() + within_s
        while self.server_state.connections or self.server_state.tasks:
            if self._gate.is_over or time.monotonic() >= until:
                return
            await asyncio.sleep(_LOOK_EVERY_S)


async def _refuse(scope: Message, send: Send) -> None:
    answer = answer_to(Draining("This gateway process is shutting down. Send the call again.", retry_after_s=1.0))
    # What every answer to this request bears, also when the application is no longer there to add it.
    own = scope.get("state", {}).get("answer_headers", ())
    headers = [*answer.raw_headers, *own, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
