"""`interrogate`, A1111's call for the words that describe a picture, as SD.Next's `caption`."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.asking import Asking, as_json
from gateway.api.bodies import read_body as read_whole_body
from gateway.api.keep_alive import kept_alive
from gateway.api.sdapi import call_of, while_connected
from gateway.domain.errors import InvalidRequest
from gateway.domain.jobs import Operation
from gateway.domain.parameters.caption_rows import OPENCLIP, TAGGER
from gateway.domain.parameters.reading import read_body
from gateway.flow.off_loop import off_loop
from gateway.flow.serve import Gateway

_BACKENDS = {b'"clip"': OPENCLIP, b'"deepdanbooru"': TAGGER, b'""': OPENCLIP}


class _Words(msgspec.Struct):
    caption: str


class CaptionRoutes:
    """The handler for the key that asks."""

    def __init__(self, gateway: Gateway) -> None:
        self._asking = Asking(gateway)
        self._gateway = gateway

    async def interrogate(self, request: Request) -> Response:
        """The words that describe a picture: `model` is `clip` or `deepdanbooru`."""
        caller = await self._asking.caller(request)
        most_bytes = caller.plan.caps.body_bytes
        asked = await read_whole_body(request, caller, most_bytes)
        body = await off_loop(asked, lambda: caption_body(asked, most_bytes))
        return await kept_alive(request, caller.plan, self._captioned(request, body))

    async def _captioned(self, request: Request, body: bytes) -> Response:
        served = await while_connected(request, self._gateway.serve(call_of(request, Operation.CAPTION, body)))
        answer = as_json({"caption": msgspec.json.decode(bytes(served.body), type=_Words).caption})
        answer.headers["X-Job-Id"] = served.job_id
        return answer


def caption_body(body: bytes, most_bytes: int) -> bytes:
    """The body of a caption that asks the same as this interrogate. Raises InvalidRequest, BodyTooLarge."""
    asked = read_body(body, most_bytes)
    backend = _BACKENDS.get(bytes(asked.get("model", b'""')))
    if backend is None:
        raise InvalidRequest("model must be clip or deepdanbooru.", "model")
    kept: dict[str, Any] = {name: asked[name] for name in ("image", "force_task_id") if name in asked}
    return msgspec.json.encode({"backend": backend, **kept})
