"""Request ids and the form of paths."""

from __future__ import annotations

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.api.serving import Request, application

pytestmark = pytest.mark.virtual_time


async def echo(request):
    return PlainTextResponse(f"{request.url.path} {request.state.request_id}")


def app():
    return application(None, Route("/v1/thing", echo, methods=["GET", "POST"]), Route("/", echo))


@pytest.mark.parametrize("path", ["/v1/thing", "//v1/thing", "/v1//thing", "/v1/thing/", "///v1///thing///"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_doubled_and_trailing_slashes_are_taken_as_meant_without_a_redirect(path, method):
    answer = await Request(app(), path=path, method=method).send_all()
    assert (answer.status, answer.body.split()[0]) == (200, b"/v1/thing")


@pytest.mark.parametrize("path", ["/", "//", "///"])
async def test_the_root_stays_the_root(path):
    assert (await Request(app(), path=path, method="GET").send_all()).body.split()[0] == b"/"


async def test_a_callers_own_id_is_kept_and_told_back():
    answer = await Request(app(), path="/v1/thing", x_request_id="abc_DEF-1.2:3").send_all()
    assert (answer.headers["x-request-id"], answer.body.split()[1]) == ("abc_DEF-1.2:3", b"abc_DEF-1.2:3")


@pytest.mark.parametrize("sent", ["", "a" * 65, "with space", "new\nline", "semi;colon", "é"])
async def test_an_id_that_could_do_harm_is_replaced_by_ours(sent):
    first = await Request(app(), path="/v1/thing", x_request_id=sent).send_all()
    second = await Request(app(), path="/v1/thing", x_request_id=sent).send_all()
    assert len(first.headers["x-request-id"]) == 16
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


async def test_refusals_of_the_router_have_an_id_too():
    missing = await Request(app(), path="/nothing").send_all()
    wrong = await Request(app(), path="/", method="DELETE").send_all()
    assert (missing.status, missing.body) == (404, b'{"detail":"Not Found"}')
    assert (wrong.status, wrong.body) == (405, b'{"detail":"Method Not Allowed"}')
    assert set(wrong.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert missing.headers["x-request-id"] != wrong.headers["x-request-id"]
