"""Looks at one backend as the gateway would, and says what its operator must change. Changes nothing there.

A picture of 64x64 in four steps, with the checkpoint that is loaded, and one small upscale are made under the backend's
slot where a gateway serves: its jobs wait for them, and they for its jobs.
"""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from enum import StrEnum
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway.domain.backends import Backend
from gateway.domain.errors import AttemptFailed
from gateway.domain.images import header_of
from gateway.domain.jobs import Operation
from gateway.domain.masking import masked
from gateway.domain.replies import decoded, has_too_many_values
from gateway.flow.observe import loaded_title, titles_of
from gateway.flow.upkeep import wrong_in
from gateway.ports import MOST_LIST_BYTES, AnswerBounds, BackendClient, RawReply

API = "/sdapi/v1/"
ANSWER_S, PICTURE_S = 10.0, 180.0
PICTURE = AnswerBounds(PICTURE_S, MOST_LIST_BYTES)
SIDE = 64
STEPS = 4  # fewer fail with PNDM, whatever the checkpoint (observed)
SLOT_TRIES = 60
MOST_CLOCK_DIFFERENCE_S = 10.0
OK, NOT_FOUND = 200, 404
REFUSED = frozenset({401, 403})
UPSCALER = "Resize Lanczos"


class Verdict(StrEnum):
    """`CHANGE` means that something must be done before the backend can be relied upon."""

    OK = "ok"
    NOTE = "note"
    CHANGE = "change"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at on one backend; `sentence` says what was found and, unless it is well, what to do."""

    backend: str
    check: str
    verdict: Verdict
    sentence: str


Slot = Callable[[Backend], AbstractAsyncContextManager[bool]]


def no_gateway(_backend: Backend) -> AbstractAsyncContextManager[bool]:
    """The slot of a backend that no gateway sends anything to: always free."""
    return nullcontext(enter_result=True)


class Examiner:
    """Examines backends through the gateway's own client. `now` is in seconds since the epoch.

    `slot` gives a backend's slot for the length of a block; false where a job has it.
    """

    def __init__(self, client: BackendClient, now: float, slot: Slot = no_gateway) -> None:
        self._client = client
        self._now = now
        self._slot = slot

    async def examine(self, backend: Backend, *, with_pictures: bool = True) -> AsyncIterator[Finding]:
        """Each finding as it is made; only the first when the backend cannot be talked to at all."""
        reply, first = await self._first_look(backend)
        yield first
        if reply is None:
            return
        yield _models(backend, reply)
        yield self._clock(backend, reply)
        yield await self._guarded(backend, "version", self._version)
        yield await self._guarded(backend, "options", self._options)
        yield await self._guarded(backend, "exposure", self._exposure)
        for finding in await self._worked(backend) if with_pictures else ():
            yield finding

    async def _worked(self, backend: Backend) -> list[Finding]:
        """What it can do, once its slot is free."""
        for _ in range(SLOT_TRIES):
            async with self._slot(backend) as is_held:
                if is_held:
                    picture = await self._guarded(backend, "picture", self._picture)
                    return [picture, await self._guarded(backend, "upscale", self._upscale)]
            await asyncio.sleep(1.0)
        busy = "The gateway's jobs have kept its slot for a minute, so it works: no picture was made."
        return [Finding(backend.name, "picture", Verdict.NOTE, busy)]

    async def _first_look(self, backend: Backend) -> tuple[RawReply | None, Finding]:
        """(1) No connection. (2) Credentials refused. (3) No such route. (4) Another failure. (5) It answers."""

        def change(sentence: str) -> tuple[None, Finding]:
            return None, Finding(backend.name, "reach", Verdict.CHANGE, sentence)

        try:
            reply = await self._client.get(backend, API + "sd-models", ANSWER_S)
        except AttemptFailed as failed:  # (1)
            return change(f"{failed} Start it, and check its address ({backend.url}) and the network between.")
        if reply.status in REFUSED:  # (2)
            return change("It refuses these credentials: set username and password to those of its --auth.")
        if reply.status == NOT_FOUND:  # (3)
            return change("There is no SD.Next API there: check the address and the path before /sdapi.")
        if reply.status != OK:  # (4)
            return change(f"It answered {reply.status} to a plain list: look into its log.")
        return reply, Finding(backend.name, "reach", Verdict.OK, "It answers.")  # (5)

    async def _guarded(self, backend: Backend, name: str, look: Any) -> Finding:  # noqa: ANN401 - one of the methods below
        try:
            verdict, sentence = await look(backend)
        except AttemptFailed as failed:
            verdict, sentence = Verdict.CHANGE, f"{failed} Look into its log."
        return Finding(backend.name, name, verdict, sentence)

    def _clock(self, backend: Backend, reply: RawReply) -> Finding:
        try:
            apart_s = parsedate_to_datetime(reply.date).timestamp() - self._now
        except (ValueError, OverflowError):
            return Finding(backend.name, "clock", Verdict.NOTE, "It does not tell its time.")
        if abs(apart_s) > MOST_CLOCK_DIFFERENCE_S:
            sentence = f"Its clock is {apart_s:+.0f} s from this machine's: have both set theirs by NTP."
            return Finding(backend.name, "clock", Verdict.CHANGE, sentence)
        return Finding(backend.name, "clock", Verdict.OK, "Its clock agrees with this machine's.")

    async def _version(self, backend: Backend) -> tuple[Verdict, str]:
        told = decoded((await self._client.get(backend, API + "version", ANSWER_S)).body)
        if not isinstance(told, dict) or told.get("app") != "sd.next":
            return Verdict.CHANGE, "It is no SD.Next: the gateway knows the ways of no other server."
        updated, commit = (masked(str(told.get(name, "?")), 40) for name in ("updated", "commit"))
        return Verdict.OK, f"SD.Next of {updated}, commit {commit}."

    async def _options(self, backend: Backend) -> tuple[Verdict, str]:
        options = decoded((await self._client.get(backend, API + "options", ANSWER_S)).body)
        found = options if isinstance(options, dict) else {}
        # SD.Next lists only what differs from its default, and each default is the wrong value (observed).
        wrong = wrong_in(found)
        if not wrong:
            return Verdict.OK, "The options the gateway relies on are right."
        wanted = ", ".join(f"{name} = {msgspec.json.encode(value).decode()}" for name, value in wrong.items())
        if backend.is_managed:
            return Verdict.NOTE, f"The gateway will set {wanted} as soon as it serves."
        return Verdict.CHANGE, f"Set {wanted} there, or let the gateway do it (manage = true)."

    async def _exposure(self, backend: Backend) -> tuple[Verdict, str]:
        stranger = replace(backend, username="", password="")
        reply = await self._client.get(stranger, API + "cmd-flags", ANSWER_S)
        if reply.status != OK:
            return Verdict.OK, "It answers nobody without its password."
        sentence = (
            "It answers anybody: whoever reaches it can use it, read its files and stop it. Start it with "
            "--auth USER:PASSWORD, name both in the gateway's entry, and let only the gateway reach its port."
        )
        return (Verdict.NOTE if _is_loopback(backend.url) else Verdict.CHANGE), sentence

    async def _picture(self, backend: Backend) -> tuple[Verdict, str]:
        fields = {"prompt": "a grey stone", "steps": STEPS, "width": SIDE, "height": SIDE}
        listed = [await loaded_title(self._client, backend) or "", *await titles_of(self._client, backend)]
        title = next(filter(None, listed), "")
        body = msgspec.json.encode(fields | ({"sd_model_checkpoint": title} if title else {}))
        reply = await self._client.generate(backend, Operation.TXT2IMG, body, PICTURE)
        if reply.status != OK:
            return Verdict.CHANGE, f"A picture of 64x64 was answered {reply.status}: its log has the reason."
        images = _raw_field(reply.body, "images", list[msgspec.Raw]) or []
        header = header_of(images[0]) if images else None
        if header is None:
            return Verdict.CHANGE, (
                f"It answered 200 without a picture with the checkpoint {title}: its file is broken, or the server is: "
                "restart it."
            )
        if (header.width, header.height) != (SIDE, SIDE):
            return Verdict.CHANGE, f"A picture of 64x64 came as {header.width}x{header.height}: look into its log."
        return Verdict.OK, f"It makes pictures (64x64, {header.kind.upper()})."

    async def _upscale(self, backend: Backend) -> tuple[Verdict, str]:
        body = {"image": base64.b64encode(grey_png(SIDE)).decode(), "upscaling_resize": 2, "upscaler_1": UPSCALER}
        reply = await self._client.generate(backend, Operation.UPSCALE, msgspec.json.encode(body), PICTURE)
        image = _raw_field(reply.body, "image", msgspec.Raw) if reply.status == OK else None
        header = header_of(image) if image is not None else None
        if header is None or header.width != 2 * SIDE:
            return Verdict.NOTE, (
                "It cannot upscale, as no stock SD.Next of 2026-07 can; generation is not affected. "
                "Calls for upscales are refused unless another backend can, or this one is mended."
            )
        return Verdict.OK, f"It upscales (64x64 to 128x128 by {UPSCALER})."


def grey_png(side: int) -> bytes:
    """A grey square of `side` pixels as PNG, 8 bits RGB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = (b"\0" + b"\x80" * (3 * side)) * side
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _models(backend: Backend, reply: RawReply) -> Finding:
    listed = decoded(reply.body)
    if not isinstance(listed, list) or not listed:
        sentence = "It lists no model: put a checkpoint into its models folder, then restart or rescan it."
        return Finding(backend.name, "models", Verdict.CHANGE, sentence)
    return Finding(backend.name, "models", Verdict.OK, f"It lists {len(listed)} models.")


def _raw_field(body: bytes, name: str, kind: Any) -> Any:  # noqa: ANN401 - whatever stands under that name
    if has_too_many_values(body):
        return None
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        return msgspec.json.decode(fields[name], type=kind)
    except (ValueError, msgspec.MsgspecError, KeyError, RecursionError):
        return None


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
