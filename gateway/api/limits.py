"""Counts calls in the limits of this process, which stand in the application's state; nothing where there are none."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.types import Scope

from gateway.domain.keys import Caller
from gateway.flow.call_limits import CallLimits


def count_stranger(scope: Scope) -> None:
    """A call is answered without a key. Raises TooManyCalls where there were too many from its address."""
    limits, client = _limits_of(scope), scope.get("client")
    if limits is not None and client:
        limits.count_stranger(client[0], _now())


def refuse_too_many(request: Request, caller: Caller) -> None:
    """Raise TooManyCalls while this key has called too often; this call is not counted."""
    if (limits := _limits_of(request.scope)) is not None:
        limits.refuse(caller.key_id, _now())


def count_call(request: Request, caller: Caller) -> None:
    """One more call of this key that asks for no picture. Raises TooManyCalls."""
    if (limits := _limits_of(request.scope)) is not None:
        limits.count(caller.key_id, _now())


def charge_body(request: Request, caller: Caller) -> None:
    """Reading the body of such a call counts by its size."""
    if (limits := _limits_of(request.scope)) is not None:
        limits.charge(caller.key_id, _now(), request.state.held.body_bytes)


def charge_refused(request: Request) -> None:
    """A call was refused for what its caller sent: it counts, and so does what was read of its body."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is not None and (limits := _limits_of(request.scope)) is not None:
        held = getattr(request.state, "held", None)
        limits.charge(caller.key_id, _now(), held.body_bytes if held is not None else 0, calls=1)


def _limits_of(scope: Scope) -> CallLimits | None:
    app = scope.get("app")
    return None if app is None else getattr(app.state, "call_limits", None)


def _now() -> float:
    return asyncio.get_running_loop().time()
