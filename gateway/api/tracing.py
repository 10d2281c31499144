"""Begins the trace of every call and ends it: route, status, reason, who called. Health checks are not followed."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.measuring import route_of
from gateway.ports.tracing import Trace, Tracer

_UNFOLLOWED = frozenset({"/livez", "/readyz"})


class Tracing:
    """Outermost of all; does nothing until the application's state has a `tracer`.

    It leaves the call's trace in `request.state.trace`, where somebody follows the call.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, within its trace."""
        tracer: Tracer | None = getattr(scope["app"].state, "tracer", None) if scope["type"] == "http" else None
        following = None
        if tracer is not None and scope["path"] not in _UNFOLLOWED:
            following = tracer.call(scope["method"], scope["headers"])
        if following is None:
            await self._app(scope, receive, send)
            return
        with following as trace:
            await self._follow(trace, scope, receive, send)

    async def _follow(self, trace: Trace, scope: Scope, receive: Receive, send: Send) -> None:
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        state = scope.setdefault("state", {})
        state["trace"] = trace
        try:
            await self._app(scope, receive, watched)
        finally:
            caller = state.get("caller")
            if caller is not None:
                trace.note(tenant_id=caller.tenant_id, key_id=caller.key_id)
            trace.note(request_id=state.get("request_id", ""))
            trace.answered(route_of(scope["path"], status), status, state.get("reason", ""))
