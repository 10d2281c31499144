"""Which answers are compressed, and that they say the same."""

from __future__ import annotations

import json

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from gateway.api.compression import LEAST_BYTES, wants_gzip
from tests.api.support import application, asking

LONG = [{"title": f"model {number}", "filename": None} for number in range(200)]
HUGE = LONG * 100
GZIP = {"accept-encoding": "gzip, deflate, br"}


def saying(answer):
    async def handle(request):
        return answer()

    return handle


async def asked(answer, path="/sdapi/v1/sd-models", method="GET", headers=GZIP):
    async with asking(application({path: saying(answer)})) as client:
        # httpx2 would add encodings of its own.
        return await client.request(method, path, headers={"accept-encoding": "identity", **headers})


@pytest.mark.parametrize("content", [LONG, HUGE])
async def test_a_long_list_is_compressed_when_asked_and_says_the_same(content):
    answer = await asked(lambda: JSONResponse(content))
    plain = len(json.dumps(content, separators=(",", ":")))
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json() == content
    assert int(answer.headers["content-length"]) < plain / 5
    assert answer.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("accepted", ["", "identity", "br", "deflate", "gzip;q=0", "*"])
async def test_who_does_not_ask_for_gzip_gets_none_and_caches_are_told(accepted):
    answer = await asked(lambda: JSONResponse(LONG), headers={"accept-encoding": accepted})
    assert "content-encoding" not in answer.headers
    assert (answer.json(), answer.headers["vary"]) == (LONG, "Accept-Encoding")


async def test_a_short_list_is_sent_as_it_is():
    answer = await asked(lambda: JSONResponse(["a"]))
    assert ("content-encoding" in answer.headers, answer.json()) == (False, ["a"])


@pytest.mark.parametrize(
    ("path", "method"),
    [("/sdapi/v1/txt2img", "POST"), ("/sdapi/v1/progress", "GET"), ("/v1/progress", "GET"), ("/a/", "HEAD")],
)
async def test_pictures_are_never_compressed(path, method):
    answer = await asked(lambda: JSONResponse(LONG), path.rstrip("/"), method)
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    "answer",
    [
        lambda: PlainTextResponse("a" * 10_000),
        lambda: Response(b"x" * 10_000, headers={"content-type": "application/json", "content-encoding": "br"}),
        lambda: StreamingResponse(iter([b"[" + b" " * LEAST_BYTES, b"]"]), media_type="application/json"),
    ],
)
async def test_what_is_no_whole_json_document_is_left_alone(answer):
    async with asking(application({"/a": saying(answer)})) as client, client.stream("GET", "/a", headers=GZIP) as got:
        raw = b"".join([part async for part in got.aiter_raw()])
    assert got.headers.get("content-encoding") != "gzip"
    assert len(raw) >= LEAST_BYTES


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [
        ("gzip", True),
        ("GZIP ; q=0.5", True),
        ("deflate, gzip;q=1.0, br", True),
        ("gzip;q=0.000", False),
        ("gzipped", False),
        ("x-gzip", False),
        ("", False),
    ],
)
def test_gzip_is_wanted_where_it_is_named_with_some_weight(accepted, wanted):
    assert wants_gzip(accepted) is wanted
