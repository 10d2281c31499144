"""Who is refused stands in the log: callers one by one, strangers in numbers, jobs where they end."""

from __future__ import annotations

import asyncio

import pytest
from starlette.responses import Response

from gateway.domain import errors
from tests.api.support import Lines, application, asking
from tests.api.test_middleware_edge import CALLER, failing

pytestmark = pytest.mark.virtual_time


async def test_a_refused_caller_has_a_line_of_its_own_without_the_key():
    log = Lines()
    app = application({"/a": failing(errors.InvalidRequest("steps is no number.", "steps"), CALLER)}, log)
    async with asking(app) as client:
        await client.post("/a", headers={"x-request-id": "mine", "authorization": "Bearer sk-secret"})
    assert log.calls == [
        {
            "request_id": "mine",
            "tenant": "Tenant",
            "key": "sk-aaaaa",
            "method": "POST",
            "path": "/a",
            "outcome": "refused",
            "status": 422,
            "error": "InvalidRequest",
            "reason": "steps is no number.",
            "took_s": 0.0,
        }
    ]
    assert log.warnings == []


async def test_a_failed_job_wrote_its_line_already():
    log, error = Lines(), errors.GenerationFailed("It failed.")
    error.job_id = "j-1"
    async with asking(application({"/a": failing(error, CALLER)}, log)) as client:
        await client.post("/a")
    assert log.calls == []


async def test_an_attack_is_a_line_a_minute_with_numbers():
    log = Lines()
    routes = {"/a": failing(errors.Unauthenticated("No.")), "/b": failing(errors.RateLimited("No.", 1.0))}
    async with asking(application(routes, log)) as client:
        for _ in range(100):
            await client.post("/a", headers={"authorization": "Bearer sk-secret"})
            await client.post("/b")
            await client.get("/nowhere")
        assert [line["counts"] for line in log.warnings] == [{"401 Unauthenticated": 1}]
        await asyncio.sleep(60)
        await client.get("/nowhere")
        assert len(log.warnings) == 1
        await client.post("/a", headers={"x-request-id": "last"})
    assert log.warnings[1:] == [
        {
            "event": "refused_without_a_key",
            "counts": {"401 Unauthenticated": 100, "429 RateLimited": 100, "404": 101},
            "last_request_id": "last",
            "last_address": "192.0.2.1",
        }
    ]
    assert log.calls == []


async def test_what_is_answered_well_is_not_refused():
    async def fine(request):
        return Response("fine")

    log = Lines()
    async with asking(application({"/a": fine}, log)) as client:
        await client.get("/a")
    assert (log.calls, log.warnings) == ([], [])
