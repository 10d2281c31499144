"""What every request and every answer goes through at the edge."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse

from gateway.api.errors import CallerLeft
from gateway.api.middleware import only_error
from gateway.domain import errors
from gateway.domain.keys import Caller
from gateway.domain.plans import Plan
from tests.api.support import Lines, application, asking

CALLER = Caller("k1", "sk-aaaaa", "t1", "Tenant", Plan(requests_per_minute=60, burst=20))
CLIENT_HEADERS = {"origin": "https://page.example"}


async def seen(request):
    """What a handler sees of a request."""
    body = (await request.body()).decode()
    client = request.client.host if request.client else None
    told = {"path": request.scope["path"], "raw_path": request.scope["raw_path"].decode(), "url": str(request.url)}
    return JSONResponse(told | {"client": client, "key": request.state.path_key, "body": body})


def failing(error, caller=None):
    async def handle(request):
        if caller is not None:
            request.state.caller = caller
        raise error

    return handle


# --- ids ------------------------------------------------------------------------------------------


async def test_an_answer_bears_the_callers_own_id_when_it_is_harmless():
    async with asking(application({"/a": seen})) as client:
        answer = await client.get("/a", headers={"x-request-id": "trace:1.2_3-4"})
        assert answer.headers["x-request-id"] == "trace:1.2_3-4"


@pytest.mark.parametrize("given", ["", "x" * 65, 'a"b', "a b"])
async def test_an_answer_gets_an_id_of_ours_when_the_callers_is_not_harmless(given):
    async with asking(application({"/a": seen})) as client:
        answers = [await client.get("/a", headers={"x-request-id": given}) for _ in range(2)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == 2
    assert all(len(one) == 16 for one in ids)


# --- the form of paths ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/sdapi/v1/a", "//sdapi/v1/a", "/sdapi/v1/a/", "///sdapi//v1/a//"])
async def test_doubled_and_trailing_slashes_are_taken_as_meant_without_a_redirect(path):
    async with asking(application({"/sdapi/v1/a": seen})) as client:
        answer = await client.post("http://gateway.test" + path, content=b"body")
        assert (answer.status_code, answer.json()["path"], answer.json()["body"]) == (200, "/sdapi/v1/a", "body")


@pytest.mark.parametrize(
    ("path", "key"),
    [("/k/sk-secret/a", "sk-secret"), ("//k/sk-secret//a/", "sk-secret"), ("/k/x/a", "x"), ("/a", None)],
)
async def test_a_key_in_the_path_is_taken_out_of_everything_that_could_be_logged(path, key):
    async with asking(application({"/a": seen})) as client:
        told = (await client.get("http://gateway.test" + path)).json()
    assert told.pop("key") == key
    assert told["path"] == told["raw_path"] == "/a"
    assert "secret" not in str(told)


async def test_a_path_that_ends_with_its_key_is_the_front_page():
    async with asking(application({"/": seen})) as client:
        assert (await client.get("/k/sk-secret")).json()["path"] == "/"


# --- who calls ------------------------------------------------------------------------------------


async def test_the_caller_is_who_a_trusted_proxy_says_and_nobody_else_is_believed():
    app = application({"/a": seen}, trusted=(ip_network("10.0.0.0/8"),))
    header = [("x-forwarded-for", "203.0.113.1"), ("x-forwarded-for", "198.51.100.9, 10.0.0.7")]
    async with asking(app, "10.0.0.1") as client:
        assert (await client.get("/a", headers=header)).json()["client"] == "198.51.100.9"
    async with asking(app, "192.0.2.1") as client:
        assert (await client.get("/a", headers=header)).json()["client"] == "192.0.2.1"


# --- pages of other sites -------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/a", "/nowhere", "/k/sk-secret/a", "//a/"])
async def test_a_preflight_is_answered_everywhere_without_a_key(path):
    async with asking(application({"/a": failing(errors.Unauthenticated("No."))}, methods=["POST"])) as client:
        asked = {**CLIENT_HEADERS, "access-control-request-method": "POST"}
        asked |= {
            "access-control-request-headers": "authorization,x-own",
            "access-control-request-private-network": "true",
        }
        answer = await client.options("http://gateway.test" + path, headers=asked)
    assert (answer.status_code, answer.content) == (200, b"")
    headers = answer.headers
    assert headers["access-control-allow-origin"] == "*"
    assert {"authorization", "content-type", "x-api-key", "x-own"} <= set(
        headers["access-control-allow-headers"].split(", ")
    )
    assert "POST" in headers["access-control-allow-methods"]
    assert headers["access-control-allow-private-network"] == "true"


ERRORS = {
    401: errors.Unauthenticated("No."),
    403: errors.Forbidden("No."),
    404: errors.RouteNotFound(),
    413: errors.BodyTooLarge("No."),
    422: errors.InvalidRequest("No."),
    429: errors.RateLimited("No.", 1.0),
    500: RuntimeError("a defect"),
    503: errors.NoCapacity("No.", 1.0),
}


@pytest.mark.parametrize("status", [*ERRORS, 405])
async def test_a_page_may_read_every_error_and_its_headers(status):
    handler = failing(ERRORS[status]) if status in ERRORS else seen
    async with asking(application({"/a": handler}, methods=["POST"])) as client:
        ask = client.get if status == 405 else client.post
        answer = await ask("/a", headers=CLIENT_HEADERS)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
    assert answer.headers["x-request-id"]


# --- errors nobody else answers -------------------------------------------------------------------


async def test_a_defect_is_a_500_without_its_inside_and_logged_once_with_the_request_id():
    log, error = Lines(), RuntimeError("the secret inside")
    async with asking(application({"/a": failing(error)}, log)) as client:
        answer = await client.post("/a", headers={"x-request-id": "mine"})
    assert (answer.status_code, answer.json()["error"], answer.json()["code"]) == (500, "InternalError", 500)
    assert "secret" not in answer.text
    assert log.failures == [("call_failed", error, {"request_id": "mine", "method": "POST", "path": "/a"})]


async def test_a_defect_in_groups_of_errors_is_logged_as_itself():
    log, error = Lines(), RuntimeError("a defect")
    grouped = ExceptionGroup("outer", [ExceptionGroup("inner", [errors.StoreUnavailable("away"), error])])
    async with asking(application({"/a": failing(grouped)}, log)) as client:
        assert (await client.get("/a")).status_code == 500
    assert [told for _, told, _ in log.failures] == [error]


async def test_an_error_of_ours_in_a_group_is_answered_as_what_it_is_and_is_no_defect():
    log = Lines()
    grouped = ExceptionGroup("outer", [errors.StoreUnavailable("The store is away.")])
    async with asking(application({"/a": failing(grouped)}, log)) as client:
        answer = await client.get("/a")
    assert (answer.status_code, answer.json()["error"], answer.headers["retry-after"]) == (503, "StoreUnavailable", "1")
    assert log.failures == []


async def sent_by(app, path="/a"):
    """Every message of the answer to one GET."""
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    await app(scope | {"headers": [], "client": ("192.0.2.1", 1), "server": ("h", 80), "scheme": "http"}, receive, send)
    return sent


@pytest.mark.parametrize(
    "error",
    [
        CallerLeft(),
        ClientDisconnect(),
        ExceptionGroup("both", [CallerLeft(), errors.NoCapacity("No.", 1.0)]),
        ExceptionGroup("both", [errors.NoCapacity("No.", 1.0), ClientDisconnect()]),
    ],
)
async def test_to_a_caller_who_left_nothing_is_sent_and_of_him_nothing_is_logged(error):
    log = Lines()
    assert await sent_by(application({"/a": failing(error)}, log)) == []
    assert (log.failures, log.calls, log.warnings) == ([], [], [])


@pytest.mark.parametrize("kind", [errors.BackendBroke, ClientDisconnect, errors.StoreUnavailable])
async def test_what_failed_because_the_caller_left_is_no_defect_however_deep_it_is(kind):
    log, left = Lines(), CallerLeft()
    left.__cause__ = ExceptionGroup("tasks", [ExceptionGroup("deeper", [kind("No.")]), CallerLeft()])
    assert await sent_by(application({"/a": failing(left)}, log)) == []
    assert log.failures == []


async def test_a_defect_while_a_call_was_given_up_is_logged():
    log, left, error = Lines(), CallerLeft(), RuntimeError("a defect")
    left.__cause__ = error
    assert await sent_by(application({"/a": failing(left)}, log)) == []
    assert [(event, told) for event, told, _ in log.failures] == [("giving_up_failed", error)]


async def test_half_an_answer_is_not_followed_by_another():
    async def half(request):
        async def parts():
            yield b"half"
            raise RuntimeError("a defect")

        return StreamingResponse(parts())

    log = Lines()
    sent = await sent_by(application({"/a": half}, log))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert len(log.failures) == 1


async def test_a_cancelled_call_is_cancelled():
    begun = asyncio.Event()

    async def wait(request):
        begun.set()
        await asyncio.Event().wait()

    call = asyncio.ensure_future(sent_by(application({"/a": wait})))
    await begun.wait()
    call.cancel()
    (ended,) = await asyncio.gather(call, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError)


async def test_what_is_no_http_passes_untouched():
    passed = []

    async def inner(scope, receive, send):
        passed.append(scope)

    app = application({})
    edge = app.user_middleware[0]
    await edge.cls(inner, *edge.args, **edge.kwargs)({"type": "lifespan"}, None, None)
    assert passed == [{"type": "lifespan"}]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (ExceptionGroup("g", [errors.NoCapacity("a", 1.0), errors.NoCapacity("b", 1.0)]), "a"),
        (ExceptionGroup("g", [errors.NoCapacity("a", 1.0), ValueError("b")]), "b"),
        (ValueError("c"), "c"),
    ],
)
def test_of_several_errors_the_defect_counts_and_else_the_first(raised, expected):
    assert str(only_error(raised)) == expected


# --- the forms in which clients ask ---------------------------------------------------------------


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "image/png", None])
async def test_a_body_arrives_as_it_was_sent_whatever_it_is_called(content_type):
    headers = {"content-type": content_type} if content_type else {}
    async with asking(application({"/a": seen})) as client:
        for ask in ("POST", "GET"):
            answer = await client.request(ask, "/a", content=b'{"a": 1}', headers=headers)
            assert (answer.status_code, answer.json()["body"]) == (200, '{"a": 1}')


async def test_a_get_is_a_head_without_its_body():
    async def text(request):
        return Response("text")

    async with asking(application({"/a": text}, methods=["GET"])) as client:
        answer = await client.head("/a")
        assert (answer.status_code, answer.headers["content-length"]) == (200, "4")


async def test_an_unknown_path_is_exactly_what_a_real_server_says():
    async with asking(application({"/a": seen})) as client:
        for ask in (client.get, client.post):
            answer = await ask("/nowhere")
            assert (answer.status_code, answer.content) == (404, b'{"detail":"Not Found"}')


async def test_a_wrong_method_is_told_which_ones_there_are():
    async with asking(application({"/a": seen}, methods=["GET"])) as client:
        answer = await client.delete("/a/")
    assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_a_refusal_by_a_limit_tells_the_callers_rate():
    refused = failing(errors.RateLimited("Wait.", 2.5), CALLER)
    async with asking(application({"/a": refused})) as client:
        headers = (await client.post("/a")).headers
    assert headers["retry-after"] == "3"
    assert (headers["ratelimit"], headers["ratelimit-policy"]) == ('"requests";r=0;t=3', '"requests";q=20;w=20')


async def test_an_error_of_a_job_names_the_job():
    error = errors.GenerationFailed("It failed.")
    error.job_id = "j-1"
    async with asking(application({"/a": failing(error, CALLER)})) as client:
        assert (await client.post("/a")).headers["x-job-id"] == "j-1"
