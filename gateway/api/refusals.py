"""What is logged of calls that were refused, so that an operator can help and an attack does not fill a disk.

A caller whose key was good gets a line of its own, unless its job wrote one. All others are only counted, by what they
were told, in at most one line a minute; unknown paths alone (a browser's icon, a scanner) are worth none.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter

from starlette.types import Scope

from gateway.domain.errors import TooManyCalls
from gateway.domain.keys import Caller
from gateway.ports import Log
from gateway.ports.tracing import UNTRACED

EVERY_S = 60.0


class Refusals:
    """Told of every call that was answered with an error."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._counts: Counter[str] = Counter()
        self._told_at = -math.inf

    def told(self, scope: Scope, status: int) -> None:
        """A call was answered with this status."""
        state = scope["state"]
        error, caller = state.get("error"), state.get("caller")
        if getattr(error, "job_id", ""):
            return
        name = type(error).__name__ if error is not None else ""
        if caller is not None and not isinstance(error, TooManyCalls):  # a flood of calls is no flood of lines
            self._of_a_caller(scope, caller, status, name)
        else:
            self._counts[f"{status} {name}".strip()] += 1
            if error is not None:  # the router has no error for what it does not know
                self._of_strangers(scope)

    def _of_a_caller(self, scope: Scope, caller: Caller, status: int, name: str) -> None:
        state = scope["state"]
        trace_id = state.get("trace", UNTRACED).trace_id
        self._log.call(
            request_id=state["request_id"],
            tenant=caller.tenant_name,
            key=caller.key_prefix,
            method=scope["method"],
            path=scope["path"],
            outcome="refused",
            status=status,
            error=name,
            reason=str(state.get("error", "")),
            took_s=round(_now() - state["arrived_at"], 4),
            **({"trace_id": trace_id} if trace_id else {}),
        )

    def _of_strangers(self, scope: Scope) -> None:
        now = _now()
        if now - self._told_at < EVERY_S:
            return
        self._told_at = now
        client = scope["client"]
        self._log.warn(
            "refused_without_a_key",
            counts=dict(self._counts),
            last_request_id=scope["state"]["request_id"],
            last_address=client[0] if client else "",
        )
        self._counts.clear()


def _now() -> float:
    return asyncio.get_running_loop().time()
