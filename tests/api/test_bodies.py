"""The one reader of bodies: in pieces, inside the byte budget, and no further than a body may be long."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import ClientDisconnect

from gateway.api.bodies import discard_body, read_body, read_hints, read_object
from gateway.domain.errors import BodyEncoded, BodyTooLarge, InvalidRequest
from gateway.domain.keys import Caller
from gateway.domain.plans import Plan
from gateway.flow.byte_budget import ByteBudget
from tests.api.support import GONE, request_with

CALLER = Caller("k1", "sk-aaaaa", "t1", "Tenant", Plan())


def part(body, *, more):
    return {"type": "http.request", "body": body, "more_body": more}


def whole(body):
    return request_with(part(body, more=False))


@pytest.mark.parametrize("raw", [b"", b'""', b"null", b" {} ", b"\xef\xbb\xbf{}"])
async def test_no_body_and_an_empty_one_are_an_empty_object(raw):
    assert await read_object(whole(raw), CALLER) == {}


@pytest.mark.parametrize("raw", [b"{", b"[]", b"3", b"\xff", b'{"a":' * 3000])
async def test_anything_but_an_object_is_refused(raw):
    with pytest.raises(InvalidRequest):
        await read_object(whole(raw), CALLER)


async def test_a_body_is_put_together_from_its_parts():
    parts = part(b"ab", more=True), part(b"c", more=True), part(b"", more=False)
    assert await read_body(request_with(*parts), CALLER, 3) == b"abc"


@pytest.mark.parametrize("announced", ["4", "99999999999", "9" * 5000])
@pytest.mark.parametrize("read", [lambda request: read_body(request, CALLER, 3), lambda it: discard_body(it, 3)])
async def test_a_body_announced_too_large_is_refused_before_a_byte_of_it_is_received(announced, read):
    request = request_with(part(b"abcd", more=False), content_length=announced)
    with pytest.raises(BodyTooLarge):
        await read(request)
    assert len(request.scope["left"]) == 1


@pytest.mark.parametrize("announced", ["", "3", "²", "-1", "x"])
@pytest.mark.parametrize("read", [lambda request: read_body(request, CALLER, 3), lambda it: discard_body(it, 3)])
async def test_a_body_that_grows_too_large_is_refused_when_it_does(announced, read):
    request = request_with(*(part(b"ab", more=True) for _ in range(9)), content_length=announced)
    with pytest.raises(BodyTooLarge, match=r"larger than 3e-06 MB"):
        await read(request)
    assert len(request.scope["left"]) == 7


async def test_a_caller_who_leaves_while_sending_is_noticed():
    with pytest.raises(ClientDisconnect):
        await read_body(request_with(part(b"ab", more=True), GONE), CALLER, 3)


@pytest.mark.parametrize("packed", ["gzip", "br", " Deflate "])
async def test_a_compressed_body_is_refused_unread_and_told_so(packed):
    request = request_with(part(b"ab", more=False), content_encoding=packed)
    with pytest.raises(BodyEncoded, match="compressed"):
        await read_body(request, CALLER, 3)
    assert len(request.scope["left"]) == 1


async def test_what_has_come_is_counted_and_what_was_announced_is_not():
    budget = ByteBudget(64_000_000)
    request = request_with(part(b"{", more=True), budget=budget, content_length="32000000")
    reading = asyncio.ensure_future(read_body(request, CALLER, 32_000_000))
    for _ in range(3):
        await asyncio.sleep(0)
    assert budget.used == 1
    reading.cancel()


async def test_a_body_for_which_there_can_never_be_room_is_too_large():
    with pytest.raises(BodyTooLarge):
        await read_body(request_with(content_length="51", budget=ByteBudget(100)), CALLER, 32_000_000)


async def test_thousands_of_fields_are_refused_because_each_costs_time():
    many = b"{" + b",".join(b'"o%d":1' % number for number in range(2_001)) + b"}"
    with pytest.raises(InvalidRequest, match="2001 fields; at most 2000"):
        await read_object(whole(many), CALLER)


@pytest.mark.parametrize(
    "raw", [b"[]", b"undefined", b"a=b&c=d", b'"interrupt"', b"{", b"\xff", b"", b"17", b"{" * 5_000]
)
async def test_a_call_that_needs_no_body_takes_any(raw):
    assert await read_hints(whole(raw), CALLER) == {}


async def test_a_call_that_needs_no_body_takes_its_hints_from_one():
    assert await read_hints(whole(b'{"force_task_id": "mine"}'), CALLER) == {"force_task_id": "mine"}
