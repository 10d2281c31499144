"""For operators and their balancers: is it alive, is it ready."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.errors import json_response


class Readiness(Protocol):
    """What `/readyz` reports."""

    def is_serving(self) -> bool:
        """Whether new calls should be sent here: false only while starting or draining."""

    def parts(self) -> dict[str, Any]:
        """Each part's state, for people and alerts."""


class OpsRoutes:
    """`/livez` and `/readyz`; neither needs a key nor touches a store."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    async def livez(self, _request: Request) -> Response:
        """200 as long as the event loop turns."""
        return json_response(b'{"status":"alive"}')

    async def readyz(self, _request: Request) -> Response:
        """200 while calls are welcome; 503 while starting or draining. Redis, SQL and the pool appear as parts only."""
        serving = self._readiness.is_serving()
        parts = self._readiness.parts()
        degraded = not all(part.get("ok", True) for part in parts.values())
        status = "starting or draining" if not serving else "degraded" if degraded else "ready"
        return json_response(msgspec.json.encode({"status": status, **parts}), 200 if serving else 503)
