"""Sends answers in pieces, and holds their bytes in the budget until the last piece is on its way.

Given whole, an answer of megabytes would leave the application at once and wait, counted by nobody, until its caller
takes it. In pieces it goes as fast as it is taken.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.domain.replies import AnswerBody
from gateway.flow.byte_budget import ByteBudget, Held

PIECE_BYTES = 1 << 17


class Holding:
    """Layer around the routes: `request.state.held` is what the call holds, and is given back when the call is over.

    The budget is `byte_budget` of the application's state; one of its own until there is any.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._own = ByteBudget()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer in pieces."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        held = getattr(scope["app"].state, "byte_budget", self._own).call()
        scope.setdefault("state", {})["held"] = held

        async def send_in_pieces(message: Message) -> None:
            if len(message.get("body", b"")) > PIECE_BYTES:
                await _send_in_pieces(message, held, send)
            else:
                await send(message)

        try:
            await self._app(scope, receive, send_in_pieces)
        finally:
            held.give_back()


async def _send_in_pieces(message: Message, held: Held, send: Send) -> None:
    view = memoryview(message["body"])
    held.sending(len(view))
    last = (len(view) - 1) // PIECE_BYTES * PIECE_BYTES
    for start in range(0, last, PIECE_BYTES):
        await send({"type": "http.response.body", "body": view[start : start + PIECE_BYTES], "more_body": True})
    await send({**message, "body": view[last:]})


class PartsResponse(Response):
    """200 with a JSON body. A large one is never put together: each part is sent from where it lies."""

    def __init__(self, body: AnswerBody, headers: Mapping[str, str]) -> None:
        super().__init__(None, 200, {**headers, "content-length": str(body.size)}, media_type="application/json")
        self._parts = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if self._parts.size <= PIECE_BYTES:
            await send({"type": "http.response.body", "body": bytes(self._parts)})
            return
        for part in self._parts.parts:
            await send({"type": "http.response.body", "body": memoryview(part), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
