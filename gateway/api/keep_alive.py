"""Long calls through edges that close a silent connection: blanks before the JSON, for plans that ask for it.

From `keep_alive_s` after the request came, waiting or running, the answer begins: 200 with one blank, and one more for
every third of that time. Every JSON parser skips them. What it costs is the status and the headers: a failure after the
first blank is the error body under 200, with its own code in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.api.errors import CallerLeft, answer_to, unexpected_answer
from gateway.domain.errors import GatewayError
from gateway.domain.plans import Plan

_BLANKS_UNTIL_AS_LATE_AGAIN = 3


async def kept_alive(request: Request, plan: Plan, work: Coroutine[None, None, Response]) -> Response:
    """What the work answers; if the plan asks for it, an answer that begins before the work is done.

    The request's body must have been read: an answer that begins earlier would cut it off.
    """
    if not plan.keep_alive_s:
        return await work
    return _KeptAlive(work, request.state.arrived_at + plan.keep_alive_s, plan.keep_alive_s)


class _KeptAlive(Response):
    """Does the work as it is sent."""

    def __init__(self, work: Coroutine[None, None, Response], due: float, keep_alive_s: float) -> None:
        self._work = work
        self._due = due
        self._every_s = keep_alive_s / _BLANKS_UNTIL_AS_LATE_AGAIN
        self._has_begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what the work does while nothing was sent, so that it is answered as ever."""
        answer, failed = await self._worked(send)
        if not self._has_begun or isinstance(failed, CallerLeft):
            if failed is not None:
                raise failed
            await answer(scope, receive, send)
            return

        async def send_body(message: Message) -> None:
            if message["type"] != "http.response.start":
                await send(message)

        await answer(scope, receive, send_body)
        if failed is not None and not isinstance(failed, GatewayError):
            raise failed  # a defect of ours, for the log; the caller has been told

    async def _worked(self, send: Send) -> tuple[Response, Exception | None]:
        """The answer, and the error that it tells of, if it does."""
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(self._tick(send))
            failed: Exception | None = None
            try:
                answer = await self._work
            except Exception as error:  # noqa: BLE001 - told in the body, or raised again
                failed = error
                answer = answer_to(error) if isinstance(error, GatewayError) else unexpected_answer()
            ticking.cancel()
        return answer, failed

    async def _tick(self, send: Send) -> None:
        await asyncio.sleep(self._due - asyncio.get_running_loop().time())
        self._has_begun = True
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        while True:
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            await asyncio.sleep(self._every_s)
