"""What the handlers of this API share: who asks, what the pool has, and the small JSON bodies of calls that are no job.

A body here is read whatever its content type says; none at all, or `""`, is an empty object, as clients send both.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.credentials import caller_of
from gateway.api.errors import json_response
from gateway.domain.catalogue import Catalogue
from gateway.domain.errors import BodyTooLarge, InvalidRequest, NoCapacity
from gateway.domain.keys import Caller
from gateway.flow.serve import Gateway

SMALL_BODY_BYTES = 1_000_000
MOST_FIELDS = 2_000  # SD.Next has 634 options; each costs time, and clients post back all that they were shown
_EMPTY_BODIES = (b"", b'""', b"null")


class Asking:
    """The gateway, as a handler asks it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def caller(self, request: Request) -> Caller:
        """Who asks. Raises as `Authenticator.authenticate`."""
        return await caller_of(request, self.gateway.authenticator)

    async def caller_and_catalogue(self, request: Request) -> tuple[Caller, Catalogue]:
        """Who asks and what there is. Raises NoCapacity before any backend was ever seen."""
        caller = await self.caller(request)
        catalogue = self.gateway.current.catalogue
        if not catalogue.backends:
            raise NoCapacity("No backend has been seen yet. Try again in a moment.", retry_after_s=2.0)
        return caller, catalogue


async def body_of(request: Request, most_bytes: int = SMALL_BODY_BYTES) -> bytes:
    """The whole body. Raises BodyTooLarge, without reading on."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most_bytes:
            raise BodyTooLarge(f"The body is larger than {most_bytes // 1000} kB, more than this call can need.")
        chunks.append(chunk)
    return b"".join(chunks)


async def object_of(request: Request, most_bytes: int = SMALL_BODY_BYTES) -> dict[str, Any]:
    """The body as a JSON object; none, `""` and `null` are an empty one. Raises InvalidRequest, BodyTooLarge."""
    raw = (await body_of(request, most_bytes)).removeprefix(b"\xef\xbb\xbf").strip()
    if raw in _EMPTY_BODIES:
        return {}
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest("The body is no JSON. Send an object, or nothing.") from error
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    if len(value) > MOST_FIELDS:
        raise InvalidRequest(f"The body has {len(value)} fields; at most {MOST_FIELDS} are read.")
    return value


def as_json(value: object) -> Response:
    """200 with this value."""
    return json_response(msgspec.json.encode(value))
