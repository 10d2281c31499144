"""Calls about pictures that need no job of their own: reading how one was made, and upscaling several in one call."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.asking import Asking, as_json
from gateway.api.bodies import read_body
from gateway.api.keep_alive import kept_alive
from gateway.api.sdapi import call_of, while_connected
from gateway.api.sending import PartsResponse
from gateway.domain import errors
from gateway.domain.errors import InvalidRequest
from gateway.domain.images import NotBase64, decoded
from gateway.domain.jobs import Operation
from gateway.domain.keys import Caller
from gateway.domain.parameters.batches import single_bodies
from gateway.domain.parameters.reading import refuse_crowds
from gateway.domain.picture_text import parameters_in, text_of
from gateway.domain.replies.batches import batch_answer
from gateway.flow.off_loop import off_loop
from gateway.flow.serve import Gateway, Served

_NONE = b'""'


class _OnePicture(msgspec.Struct):
    image: msgspec.Raw = msgspec.Raw(_NONE)


class PictureRoutes:
    """Handlers for the key that asks."""

    def __init__(self, gateway: Gateway, reader: Executor | None = None) -> None:
        self._asking = Asking(gateway)
        self._gateway = gateway
        # A large or odd picture takes long enough for every other call to feel it. One thread: so many pictures at a
        # time may cost, and the library's warnings are switched off for the whole process while one is read.
        self._reader = reader or ThreadPoolExecutor(1, "png-info")

    async def png_info(self, request: Request) -> Response:
        """How a picture was made, from its own metadata."""
        caller = await self._asking.caller(request)
        body = await self._asking.body(request, caller)
        return as_json(await asyncio.get_running_loop().run_in_executor(self._reader, _told_of, body))

    async def upscale_all(self, request: Request) -> Response:
        """Each picture of the list upscaled by a job of its own, one after the other.

        All are checked before the first; those that fail at work are named beside the others.
        """
        caller = await self._asking.caller(request)
        bodies = await self._singles(request, caller)
        return await kept_alive(request, caller.plan, self._upscaled(request, bodies))

    async def _singles(self, request: Request, caller: Caller) -> list[bytes]:
        """The bodies of the single upscales; the whole one is let go here, before the first of them is sent."""
        body, context = await read_body(request, caller, caller.plan.caps.body_bytes), self._gateway.context(caller, {})
        return await off_loop(body, lambda: single_bodies(body, context))

    async def _upscaled(self, request: Request, bodies: list[bytes]) -> Response:
        served, failed = await while_connected(request, self._serve_all(request, bodies))
        answer, told = batch_answer([one.body for one in served], failed)
        told = tuple(dict.fromkeys((*(line for one in served for line in one.adjustments), *told)))
        headers = {"X-Job-Id": ", ".join(one.job_id for one in served)}
        headers |= {"X-Gateway-Adjusted": ", ".join(told)} if told else {}
        return PartsResponse(answer, headers)

    async def _serve_all(
        self, request: Request, bodies: list[bytes]
    ) -> tuple[list[Served], dict[int, errors.GatewayError]]:
        """What was made, and by its number why a picture was not. Raises the first failure where nothing was made."""
        served: list[Served] = []
        failed: dict[int, errors.GatewayError] = {}
        count = len(bodies)
        for number in range(count):
            try:  # a body that is done with is let go
                served.append(await self._gateway.serve(call_of(request, Operation.UPSCALE, bodies.pop(0))))
            except errors.GatewayError as failure:
                failed[number] = errors.without_frames(failure)
                if isinstance(failure, errors.CapacityError):  # the rest would be refused for the same reason
                    failed |= dict.fromkeys(range(number, count), failure)
                    break
        if not served:
            raise next(iter(failed.values()))
        return served, failed


def _told_of(body: bytes) -> dict[str, Any]:
    picture = _decoded(body, _OnePicture).image
    if bytes(memoryview(picture)[: len(_NONE)]) == _NONE:
        return {"info": "", "items": {}, "parameters": {}}
    try:
        info, items = text_of(decoded(picture))
    except NotBase64 as error:
        raise InvalidRequest(f"image must be base64, bare or as a data URL: {error}.", "image") from None
    return {"info": info, "items": items, "parameters": parameters_in(info)}


def _decoded(body: bytes, kind: Any) -> Any:  # noqa: ANN401 - a struct or a mapping
    refuse_crowds(body)
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body cannot be read: {error}.") from error


def picture_routes(gateway: Gateway) -> list[tuple[str, str, str, Any]]:
    """(method, name below /sdapi/v1, further name below /v1, handler)."""
    own = PictureRoutes(gateway)
    return [("POST", "png-info", "", own.png_info), ("POST", "extra-batch-images", "", own.upscale_all)]
