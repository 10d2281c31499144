"""Calls about pictures that need no job of their own: reading how one was made, and upscaling several in one call."""

from __future__ import annotations

import asyncio
import binascii
from base64 import b64decode
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
from gateway.domain.errors import InvalidRequest
from gateway.domain.jobs import Operation
from gateway.domain.keys import Caller
from gateway.domain.parameters.reading import refuse_crowds
from gateway.domain.picture_text import parameters_in, text_of
from gateway.domain.replies import AnswerBody, json_list
from gateway.flow.serve import Gateway, Served


class _OnePicture(msgspec.Struct):
    image: str = ""


class _Batch(msgspec.Struct):
    imageList: list[msgspec.Raw] = []  # noqa: N815 - the name on the wire


class _Entry(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw(b'""')


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
        """Each picture of the list upscaled by a job of its own, one after the other; all of them, or an error."""
        caller = await self._asking.caller(request)
        # No name for the whole body: it would be held beside the single ones until the last of them is done.
        bodies = _singles(await read_body(request, caller, caller.plan.caps.body_bytes), caller)
        return await kept_alive(request, caller.plan, self._upscaled(request, bodies))

    async def _upscaled(self, request: Request, bodies: list[bytes]) -> Response:
        served = await while_connected(request, self._serve_all(request, bodies))
        told = tuple(dict.fromkeys(line for one in served for line in one.adjustments))
        headers = {"X-Job-Id": ", ".join(one.job_id for one in served)}
        headers |= {"X-Gateway-Adjusted": ", ".join(told)} if told else {}
        html = next((html for one in served if (html := one.body.member("html_info")) != (b'""',)), (b'""',))
        images = json_list(tuple(part for one in served for part in one.body.member("image")))
        return PartsResponse(AnswerBody((("html_info", html), ("images", images))), headers)

    async def _serve_all(self, request: Request, bodies: list[bytes]) -> list[Served]:
        served = []
        while bodies:  # a body that is done with is let go
            served.append(await self._gateway.serve(call_of(request, Operation.UPSCALE, bodies.pop(0))))
        return served


def _singles(body: bytes, caller: Caller) -> list[bytes]:
    """The bodies of the single upscales. Raises InvalidRequest."""
    pictures = _decoded(body, _Batch).imageList
    most = caller.plan.caps.images_per_call
    if not 1 <= len(pictures) <= most:
        raise InvalidRequest(f"imageList must hold 1 to {most} pictures for this key.", "imageList")
    shared = _decoded(body, dict[str, msgspec.Raw])
    shared.pop("imageList", None)
    entries = [_decoded(bytes(picture), _Entry) for picture in pictures]
    return [msgspec.json.encode({**shared, "image": entry.data}) for entry in entries]


def _told_of(body: bytes) -> dict[str, Any]:
    text = _decoded(body, _OnePicture).image
    if not text:
        return {"info": "", "items": {}, "parameters": {}}
    info, items = text_of(_picture(text))
    return {"info": info, "items": items, "parameters": parameters_in(info)}


def _decoded(body: bytes, kind: Any) -> Any:  # noqa: ANN401 - a struct or a mapping
    refuse_crowds(body)
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body cannot be read: {error}.") from error


def _picture(text: str) -> bytes:
    payload = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("image must be base64, bare or as a data URL.", "image") from error


def picture_routes(gateway: Gateway) -> list[tuple[str, str, str, Any]]:
    """(method, name below /sdapi/v1, further name below /v1, handler)."""
    own = PictureRoutes(gateway)
    return [("POST", "png-info", "", own.png_info), ("POST", "extra-batch-images", "", own.upscale_all)]
