"""The API over a whole gateway in virtual time: requests as ASGI messages, so that a caller can stall or leave."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route

from gateway.api.sdapi import GenerationRoutes
from gateway.domain.jobs import Operation
from tests.api.support import Lines
from tests.api.support import application as behind_the_edge
from tests.flow.world import KEY

SMALL = {"prompt": "a cat", "steps": 4, "width": 64, "height": 64, "sd_model_checkpoint": "red"}
PATH = "/sdapi/v1/txt2img"


def application(gateway: Any, *more: Route, log: Lines | None = None) -> Starlette:
    """One generation route with the edge and the error table of the real application, and `more`."""
    routes = list(more)
    if gateway is not None:
        routes.append(Route(PATH, GenerationRoutes(gateway).handler(Operation.TXT2IMG), methods=["POST"]))
    app = behind_the_edge({}, log)
    app.router.routes.extend(routes)
    app.router.redirect_slashes = False
    return app


@dataclass
class Answer:
    """What was sent back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Request:
    """A request under way: its body goes chunk by chunk, and its caller leaves when `leave` is called."""

    def __init__(self, app: Any, body: Any = None, path: str = PATH, method: str = "POST", **headers: str) -> None:
        self._app = app
        self.body = json.dumps(SMALL if body is None else body).encode() if not isinstance(body, bytes) else body
        headers = {"authorization": f"Bearer {KEY}"} | {name.replace("_", "-"): text for name, text in headers.items()}
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "scheme": "http",
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 5),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items() if value],
        }
        self.answer = Answer()
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.received = 0

    async def send_all(self) -> Answer:
        """Send the whole body and wait for the answer."""
        self.chunk(self.body, more=False)
        return await self.run()

    def chunk(self, data: bytes, *, more: bool = True) -> None:
        self.messages.put_nowait({"type": "http.request", "body": data, "more_body": more})

    def leave(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})

    async def run(self) -> Answer:
        await self._app(self._scope, self._receive, self._send)
        return self.answer

    def start(self) -> asyncio.Task[Answer]:
        """The same beside the test."""
        self.chunk(self.body, more=False)
        return asyncio.get_running_loop().create_task(self.run())

    async def _receive(self) -> dict[str, Any]:
        self.received += 1
        return await self.messages.get()

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.answer.status = message["status"]
            pairs = [(name.decode(), value.decode("latin-1")) for name, value in message["headers"]]
            assert len({name for name, _ in pairs}) == len(pairs), f"a header twice: {pairs}"
            self.answer.headers = dict(pairs)
        else:
            self.answer.body += message.get("body", b"")
