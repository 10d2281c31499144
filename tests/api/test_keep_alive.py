"""Calls that are kept alive with blanks: when they begin, what ends them, and what they cost."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import replace

import pytest
from starlette.routing import Route

from gateway.api.pictures import PictureRoutes
from gateway.domain.jobs import Outcome
from tests.api.serving import SMALL, Request, application
from tests.api.support import Lines
from tests.flow.world import CALLER, NOTHING_HELD, PLAN, now, running, until
from tests.support.fake_backends import sdnext
from tests.support.hostile import PIXEL
from tests.support.patience import PATIENCE_S

KEPT = replace(CALLER, plan=replace(PLAN, keep_alive_s=45.0, max_wait_s=1000.0))
SLOW = SMALL | {"steps": 100}  # seconds on the simulated server, as many as steps


@pytest.mark.virtual_time
async def test_blanks_come_from_45_seconds_on_every_15_and_then_the_whole_answer():
    async with running(caller=KEPT) as world:
        request, began, seen = Request(application(world.process.gateway), SLOW), now(), []
        call = request.start()
        for blanks in range(1, 5):
            await until(lambda blanks=blanks: len(request.answer.body) == blanks)
            seen.append(round(now() - began))
        answer = await call
        assert seen == [45, 60, 75, 90]
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert (answer.body[:4], answer.body[4:5]) == (b"    ", b"{")
        assert len(answer.json["images"]) == 1
        assert {"x-request-id", "access-control-allow-origin"} <= answer.headers.keys()
        assert "content-length" not in answer.headers
        assert await world.settle() == NOTHING_HELD


@pytest.mark.virtual_time
async def test_a_call_that_ends_in_time_and_a_plan_that_asks_for_nothing_are_answered_as_ever():
    for caller, body in ((KEPT, SMALL), (CALLER, SLOW)):
        async with running(caller=caller) as world:
            answer = await Request(application(world.process.gateway), body).send_all()
            assert (answer.status, answer.body[:1]) == (200, b"{")
            assert {"content-length", "x-job-id", "server-timing"} <= answer.headers.keys()


@pytest.mark.virtual_time
async def test_an_early_failure_has_its_own_status_and_headers():
    refused = replace(KEPT, plan=replace(KEPT.plan, max_queued=0, max_concurrency=1))
    async with running(caller=refused) as world:
        first = Request(application(world.process.gateway), SLOW).start()
        await until(lambda: world.store.slots)
        answer = await Request(application(world.process.gateway)).send_all()
        assert (answer.status, answer.json["error"]) == (429, "TooManyOutstanding")
        assert int(answer.headers["retry-after"]) > 0
        assert (await first).status == 200


@pytest.mark.virtual_time
async def test_a_late_failure_is_the_error_body_under_200_with_its_code_in_it():
    impatient = replace(KEPT, plan=replace(KEPT.plan, max_wait_s=50.0))
    async with running(caller=impatient) as world:
        first = world.asking(steps=100)
        await until(lambda: world.store.slots)
        answer = await Request(application(world.process.gateway)).send_all()
        assert (answer.status, answer.body[:1]) == (200, b" ")
        assert (answer.json["error"], answer.json["code"]) == ("NoCapacity", 503)
        assert answer.json["detail"] == answer.json["message"] != ""
        await first
        assert await world.settle() == NOTHING_HELD


@pytest.mark.virtual_time
async def test_a_late_defect_is_told_in_the_body_and_in_the_log():
    lines = Lines()
    async with running(caller=KEPT) as world:
        request = Request(application(world.process.gateway, log=lines), SLOW)
        call = request.start()
        await until(lambda: request.answer.body == b" ")
        world.process.faults.ended = None  # what the flow calls as a job ends
        answer = await call
        assert (answer.status, answer.json["error"], answer.json["code"]) == (200, "InternalError", 500)
        assert [event for event, *_ in lines.failures] == ["call_failed"]


@pytest.mark.virtual_time
async def test_a_caller_that_leaves_between_blanks_is_noticed_and_nothing_more_is_sent():
    async with running(caller=KEPT) as world:
        request = Request(application(world.process.gateway), SLOW)
        call = request.start()
        await until(lambda: request.answer.body == b" ")
        request.leave()
        await call
        assert request.answer.body == b" "
        await until(lambda: not world.store.slots)
        (record,) = await world.records()
        assert record.outcome is Outcome.INTERRUPTED
        assert await world.settle() == NOTHING_HELD


@pytest.mark.virtual_time
async def test_upscales_of_a_list_are_kept_alive_together():
    slow = sdnext(upscalers="fixed", upscale_seconds_per_megapixel=30.0 / 4e-6)
    async with running({"a": slow}, caller=KEPT) as world:
        path = "/sdapi/v1/extra-batch-images"
        route = Route(path, PictureRoutes(world.process.gateway).upscale_all, methods=["POST"])
        body = {"imageList": [{"data": PIXEL}] * 3, "upscaler_1": "Resize Lanczos", "upscaling_resize": 2}
        answer = await Request(application(world.process.gateway, route), body, path).send_all()
        assert (answer.status, answer.body[:4]) == (200, b"    ")
        assert len(answer.json["images"]) == 3


def test_bytes_come_over_a_socket_before_the_picture_does(pool):
    key = "sk-kept-alive-0123456789abcdefgh"
    sim = pool.add_sim("one", "red")
    gateway = pool.start()
    pool.add_key(key, "kept", {"keep_alive_s": 0.3})
    sim.ask("/__sim/hold?phase=inference", method="POST")
    body = json.dumps({**SMALL, "steps": 1}).encode()
    head = f"POST /sdapi/v1/txt2img HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S) as wire:
        wire.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        received = bytearray()
        while received.count(b"1\r\n \r\n") < 3:  # three blanks, each sent as it was due
            received += wire.recv(65536)
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"transfer-encoding: chunked" in received.lower()
        assert b"images" not in received
        sim.ask("/__sim/hold?phase=inference", method="DELETE")
        with contextlib.closing(wire.makefile("rb")) as rest:
            received += rest.read()
    assert json.loads(unchunked(bytes(received)))["images"]
    assert pool.get("/v1/account", key).json()["plan"]["keep_alive_s"] == 0.3
    assert pool.get("/v1/account").json()["plan"]["keep_alive_s"] == 0.0


def unchunked(answer):
    """The body of an answer in chunks (RFC 9112, 7.1)."""
    _, _, rest = answer.partition(b"\r\n\r\n")
    body = b""
    while size := int(rest.partition(b"\r\n")[0], 16):
        rest = rest.partition(b"\r\n")[2]
        body, rest = body + rest[:size], rest[size + 2 :]
    return body
