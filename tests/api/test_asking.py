"""Small JSON bodies of calls that are no job."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from gateway.api.asking import body_of, object_of
from gateway.domain.errors import BodyTooLarge, InvalidRequest


def request_with(*chunks):
    parts = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    parts.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        return parts.pop(0)

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


@pytest.mark.parametrize("raw", [b"", b'""', b"null", b" {} ", b"\xef\xbb\xbf{}"])
async def test_no_body_and_an_empty_one_are_an_empty_object(raw):
    assert await object_of(request_with(raw)) == {}


@pytest.mark.parametrize("raw", [b"{", b"[]", b"3", b"\xff", b'{"a":' * 3000])
async def test_anything_but_an_object_is_refused(raw):
    with pytest.raises(InvalidRequest):
        await object_of(request_with(raw))


async def test_thousands_of_fields_are_refused_because_each_costs_time():
    many = b"{" + b",".join(b'"o%d":1' % number for number in range(2_001)) + b"}"
    with pytest.raises(InvalidRequest, match="2001 fields; at most 2000"):
        await object_of(request_with(many))


async def test_a_body_is_read_only_as_far_as_it_may_be_long():
    unread = request_with(b"12345", b"67890", b"never read")
    with pytest.raises(BodyTooLarge):
        await body_of(unread, 9)
    assert await body_of(request_with(b"1234", b"56789"), 9) == b"123456789"
