"""What the handlers of calls that are no job share: who asks, what the pool has, and answers of JSON."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.bodies import read_body
from gateway.api.credentials import caller_of
from gateway.api.errors import json_response
from gateway.api.limits import charge_body, count_call
from gateway.domain.catalogue import Catalogue
from gateway.domain.errors import NoCapacity
from gateway.domain.keys import Caller
from gateway.flow.serve import Gateway


class Asking:
    """The gateway, as a handler asks it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def caller(self, request: Request) -> Caller:
        """Who asks. Raises as `Authenticator.authenticate`, and TooManyCalls."""
        caller = await caller_of(request, self.gateway.authenticator)
        count_call(request, caller)
        return caller

    async def body(self, request: Request, caller: Caller) -> bytes:
        """The whole body of a call that may hold a picture. Raises as `read_body`."""
        body = await read_body(request, caller, caller.plan.caps.body_bytes)
        charge_body(request, caller)
        return body

    async def caller_and_catalogue(self, request: Request) -> tuple[Caller, Catalogue]:
        """Who asks and what there is. Raises NoCapacity before any backend was ever seen."""
        caller = await self.caller(request)
        catalogue = self.gateway.current.catalogue
        if not catalogue.backends:
            raise NoCapacity("No backend has been seen yet. Try again in a moment.", retry_after_s=2.0)
        return caller, catalogue


def as_json(value: object) -> Response:
    """200 with this value."""
    return json_response(msgspec.json.encode(value))
