"""The generation routes: bodies, headers, callers who leave."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from starlette.routing import Route

from gateway.domain.jobs import Outcome
from tests.api.serving import SMALL, Request, application
from tests.api.support import Lines
from tests.flow.world import CALLER, KEY, NOTHING_HELD, PLAN, now, running, until
from tests.support.fake_backends import sdnext

pytestmark = pytest.mark.virtual_time


async def test_an_answer_has_its_picture_and_tells_job_times_and_what_is_left():
    limited = replace(CALLER, plan=replace(PLAN, requests_per_minute=60.0, burst=20))
    async with running(caller=limited) as world:
        answer = await Request(application(world.process.gateway), SMALL | {"steps": 2, "save_images": True}).send_all()
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert len(answer.json["images"]) == 1
        (record,) = await world.records()
        assert answer.headers["x-job-id"] == record.job_id
        assert answer.headers["ratelimit-policy"] == '"requests";q=20;w=20'
        assert answer.headers["ratelimit"] == '"requests";r=19;t=1'
        times = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
        assert times.keys() == {"auth", "body", "queue", "swap", "generate", "gateway"}
        assert float(times["generate"]) == pytest.approx(2000, abs=100)
        assert "save_images" in answer.headers["x-gateway-adjusted"]


async def test_without_a_key_nothing_of_the_body_is_read():
    async with running() as world:
        request = Request(application(world.process.gateway), authorization="")
        answer = await request.send_all()
        assert (answer.status, answer.json["error"], request.received) == (401, "Unauthenticated", 0)
        assert answer.headers["www-authenticate"].startswith("Basic")


async def test_an_announced_body_that_is_too_large_is_refused_before_it_is_read():
    async with running() as world:
        request = Request(application(world.process.gateway), content_length=str(PLAN.caps.body_bytes + 1))
        answer = await request.send_all()
        assert (answer.status, answer.json["error"], request.received) == (413, "BodyTooLarge", 0)


@pytest.mark.parametrize("announced", ["", "10", "nonsense", "-1", "²"])
async def test_a_body_that_grows_too_large_is_refused_while_it_comes_in_whatever_was_announced(announced):
    async with running() as world:
        request = Request(application(world.process.gateway), b"", content_length=announced)
        for _ in range(5):
            request.chunk(b" " * (PLAN.caps.body_bytes // 3))
        answer = await request.run()
        assert (answer.status, request.received) == (413, 4)


async def test_a_body_of_the_largest_size_is_still_read():
    async with running() as world:
        body = json.dumps(SMALL | {"steps": 1}).encode()
        request = Request(application(world.process.gateway), body + b" " * (PLAN.caps.body_bytes - len(body)))
        assert (await request.send_all()).status == 200


async def test_a_body_in_many_chunks_is_one_body():
    async with running() as world:
        request = Request(application(world.process.gateway))
        for byte in request.body:
            request.chunk(bytes([byte]))
        request.chunk(b"", more=False)
        assert (await request.run()).status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000])
async def test_a_body_that_is_no_object_is_refused_with_a_sentence(body):
    async with running() as world:
        answer = await Request(application(world.process.gateway), body).send_all()
        assert answer.status == 422
        assert answer.json["detail"] == answer.json["message"] != ""


async def test_a_caller_who_leaves_while_it_sends_holds_nothing_and_is_no_defect():
    async with running() as world:
        request = Request(application(world.process.gateway))
        request.chunk(b'{"prompt"')
        request.leave()
        assert (await request.run()).status == 0
        assert world.process.jobs.named("enter") == []


async def test_a_caller_who_leaves_while_waiting_is_withdrawn_at_once_and_is_no_defect():
    async with running() as world:
        app = application(world.process.gateway)
        first = Request(app, SMALL | {"steps": 50}).start()
        await until(lambda: world.store.slots)
        waiting = Request(app)
        call = waiting.start()
        await until(lambda: world.store.waiting)
        left_at = now()
        waiting.leave()
        assert (await call).status == 0
        assert (now() - left_at < 0.1, world.store.waiting) == (True, [])
        assert (await first).status == 200
        assert {outcome for outcome, _ in await world.outcomes()} == {Outcome.WITHDRAWN, Outcome.FINISHED}


async def test_a_caller_who_leaves_while_its_job_runs_has_it_interrupted():
    async with running() as world:
        request = Request(application(world.process.gateway), SMALL | {"steps": 100})
        call = request.start()
        await until(lambda: world.store.slots)
        await asyncio.sleep(5)
        request.leave()
        assert (await call).status == 0
        assert len(world.backends["a"].received("interrupt")) == 1
        assert world.holdings() == NOTHING_HELD


@pytest.mark.parametrize("fault", ["hang", "reset"])
async def test_a_caller_who_leaves_a_backend_that_then_fails_is_no_defect_either(fault):
    async with running({"a": sdnext(), "b": sdnext()}) as world:
        world.backends["a"].arm_once("hang")
        request = Request(application(world.process.gateway))
        call = request.start()
        await until(lambda: world.backends["a"].received("txt2img"))
        request.leave()
        await asyncio.sleep(3)
        if fault == "reset":
            world.backends["a"].break_connections()
        assert (await call).status == 0
        assert world.backends["b"].received("txt2img") == []
        assert await world.settle() == NOTHING_HELD


async def test_an_error_of_the_work_comes_out_as_itself():
    async with running() as world:
        world.backends["a"].arm_once("500")
        answer = await Request(application(world.process.gateway)).send_all()
        assert (answer.status, answer.json["error"]) == (500, "GenerationFailed")


async def test_a_refused_call_says_when_to_come_again():
    hurried = replace(CALLER, plan=replace(PLAN, max_wait_s=2.0))
    async with running(caller=hurried) as world:
        app = application(world.process.gateway)
        first = Request(app, SMALL | {"steps": 20}).start()
        await until(lambda: world.store.slots)
        answer = await Request(app).send_all()
        assert (answer.status, int(answer.headers["retry-after"]) > 0) == (503, True)
        assert (await first).status == 200


async def test_a_defect_of_ours_is_a_500_with_its_request_id_in_answer_and_log():
    async def broken(_request):
        raise ZeroDivisionError("a defect with a secret inside")

    async with running() as world:
        log = Lines()
        app = application(world.process.gateway, Route("/broken", broken), log=log)
        answer = await Request(app, path="/broken", method="GET", x_request_id="mine-1").send_all()
        assert (answer.status, answer.headers["x-request-id"]) == (500, "mine-1")
        assert "secret" not in answer.body.decode()
        ((_, error, fields),) = log.failures
        assert (type(error), fields["request_id"]) == (ZeroDivisionError, "mine-1")


async def test_the_log_has_the_request_id_and_never_the_key():
    async with running() as world:
        await Request(application(world.process.gateway), x_request_id="mine-1").send_all()
        (line,) = world.process.log.calls
        assert line["request_id"] == "mine-1"
        assert KEY not in str(line)
