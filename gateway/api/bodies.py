"""The one reader of request bodies: in pieces, each counted in the byte budget before it is kept.

A body is read whatever its content type says; where a small object is asked for none at all, or `""`, is an empty one,
as clients send both. What nobody needs is thrown away as it comes.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request

from gateway.domain.errors import BodyEncoded, BodyTooLarge, InvalidRequest
from gateway.domain.keys import Caller
from gateway.domain.parameters.json_flaws import flaw_of
from gateway.flow.byte_budget import Held

SMALL_BODY_BYTES = 1_000_000
MOST_FIELDS = 2_000  # SD.Next has 634 options; each costs time, and clients post back all that they were shown
_DIGITS = 20  # more of them are no length, and thousands no number that Python reads
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_EMPTY_BODIES = (b"", b'""', b"null")
_PACKED = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress"})


async def read_body(request: Request, caller: Caller, most_bytes: int) -> bytes:
    """The whole body. It stays counted until the answer has been sent.

    Raises BodyTooLarge, from its announced length before it is read where there is one; BodyEncoded for a
    compressed one; NoCapacity; ClientDisconnect.
    """
    held: Held = request.state.held
    held.belongs_to(caller.tenant_id, _sender_of(request, caller))
    most_bytes = min(most_bytes, held.most_body_bytes)
    _refuse_unread(request, most_bytes)
    body, more = BytesIO(), True
    while more:
        piece, more = await _next_piece(request)
        if body.tell() + len(piece) > most_bytes:
            raise _too_large(most_bytes)
        await held.add(len(piece), is_last=not more)
        body.write(piece)
    return body.getvalue()  # shares its bytes: joining a list of pieces would hold all of them twice


async def discard_body(request: Request, most_bytes: int = SMALL_BODY_BYTES) -> None:
    """Read the body and keep nothing of it, so that the connection can be used again. Raises BodyTooLarge."""
    _refuse_unread(request, most_bytes)
    size, more = 0, True
    while more:
        piece, more = await _next_piece(request)
        size += len(piece)
        if size > most_bytes:
            raise _too_large(most_bytes)


async def read_object(request: Request, caller: Caller) -> dict[str, Any]:
    """A small body as a JSON object; none, `""` and `null` are an empty one. Raises what `read_body` does."""
    raw = (await read_body(request, caller, SMALL_BODY_BYTES)).removeprefix(_BYTE_ORDER_MARK).strip()
    if raw in _EMPTY_BODIES:
        return {}
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(
            f"The body is not valid JSON: {flaw_of(raw, error)}. Send an object, or nothing."
        ) from error
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    if len(value) > MOST_FIELDS:
        raise InvalidRequest(f"The body has {len(value)} fields; at most {MOST_FIELDS} are read.")
    return value


async def read_hints(request: Request, caller: Caller) -> dict[str, Any]:
    """The fields of a body that the call can do without: none where it is anything but a small JSON object.

    Real clients send `undefined`, `[]`, a form or half a text to calls that need no body. Raises what `read_body` does.
    """
    raw = await read_body(request, caller, SMALL_BODY_BYTES)
    try:
        value = msgspec.json.decode(raw.removeprefix(_BYTE_ORDER_MARK))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


async def _next_piece(request: Request) -> tuple[bytes, bool]:
    """What has come of the body since the last piece, and whether more is to come. Raises ClientDisconnect."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


def _refuse_unread(request: Request, most_bytes: int) -> None:
    packed = request.headers.get("content-encoding", "").strip().lower()
    if packed in _PACKED:
        raise BodyEncoded(f"The body is compressed ({packed}). Send it as plain JSON, without Content-Encoding.")
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdecimal() and int(announced[:_DIGITS]) > most_bytes:
        raise _too_large(most_bytes)


def _too_large(most_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {most_bytes / 1_000_000:g} MB, the most for this call.")


def _sender_of(request: Request, caller: Caller) -> str:
    return f"{caller.key_id} {request.client.host if request.client else ''}"
