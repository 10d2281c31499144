"""How one worker process ends: without a launcher, with real signals and real connections."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys

import pytest

from gateway.launcher.worker import Gate
from tests.support.patience import PATIENCE_S
from tests.support.processes import Gateways, wait_until

STANDIN = "tests.launcher.standin:create_app"


@pytest.fixture
def serve(gateways: Gateways):
    """Start one worker that listens itself; the Redis it names is never spoken to by the tiny application."""

    def start(**settings):
        defaults = {"app": STANDIN, "redis_url": "redis://127.0.0.1:1", "alone": "true", "drain_delay_s": "300"}
        return gateways.start("serve", **{**defaults, **settings})

    return start


def begin(gateway, path, headers=()):
    """A call under way, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE_S)
    connection.putrequest("POST", path)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    return connection


def drain(gateway):
    gateway.process.terminate()
    wait_until(lambda: gateway.get("/readyz")[0] == 503, "/readyz is 503")


def test_one_worker_with_a_named_redis_is_one_process(serve):
    gateway = serve()
    gateway.wait_until_ready()
    assert gateway.get_json("/process")["pid"] == gateway.process.pid
    assert gateway.descendants() == {}


def test_what_the_start_made_is_not_looked_through_for_garbage_again(serve):
    gateway = serve()
    gateway.wait_until_ready()
    process = gateway.get_json("/process")
    assert process["frozen"] > 10_000
    assert process["collects_after"] == 20_000


def test_while_it_drains_it_still_accepts_and_every_answer_closes_its_connection(serve):
    gateway = serve()
    gateway.wait_until_ready()
    assert "connection" not in gateway.get("/process")[1]
    drain(gateway)
    for path, status in (("/readyz", 503), ("/process", 200), ("/nowhere", 404)):
        answer = gateway.get(path)
        assert (answer[0], answer[1]["connection"]) == (status, "close")


def test_a_call_begun_before_the_drain_closes_its_connection_too(serve):
    gateway = serve()
    gateway.wait_until_ready()
    held = begin(gateway, "/held", [("Content-Length", "0")])
    wait_until(lambda: gateway.get_json("/seen") == 1, "the call is held")
    drain(gateway)
    gateway.get("/release")
    assert held.getresponse().getheader("connection") == "close"
    held.close()


def test_sigint_while_it_drains_ends_the_delay_and_the_status_is_0(serve):
    gateway = serve()
    gateway.wait_until_ready()
    drain(gateway)
    gateway.process.send_signal(signal.SIGINT)
    assert gateway.ended() == 0
    assert gateway.output == "closed in order\n"


def test_sigint_alone_drains_without_delay_and_the_status_is_0(serve):
    gateway = serve()
    gateway.wait_until_ready()
    gateway.process.send_signal(signal.SIGINT)
    assert gateway.ended() == 0


def test_a_second_sigterm_changes_nothing(serve):
    gateway = serve()
    gateway.wait_until_ready()
    drain(gateway)
    gateway.process.terminate()
    assert gateway.get("/process")[0] == 200


def test_after_the_delay_it_listens_no_more_but_running_calls_are_answered(serve):
    gateway = serve(drain_delay_s="0")
    gateway.wait_until_ready()
    held = begin(gateway, "/held", [("Content-Length", "0")])
    release = begin(gateway, "/release", [("Content-Length", "1")])
    wait_until(lambda: gateway.get_json("/seen") == 2, "both calls are under way")
    gateway.process.terminate()
    wait_until(lambda: gateway.get_json("/seen") is None, "nobody listens any more")
    release.send(b"x")
    answers = [connection.getresponse().read() for connection in (release, held)]
    release.close()
    held.close()
    assert answers == [b'"ok"', b'"released"']
    assert gateway.ended() == 0


@pytest.mark.parametrize("how", ["the grace is over", "another SIGINT"])
def test_a_call_that_outlasts_the_grace_is_answered_503_and_the_status_is_0(how, serve):
    gateway = serve(drain_delay_s="0", grace_s="0" if how == "the grace is over" else "300")
    gateway.wait_until_ready()
    held = begin(gateway, "/held", [("Content-Length", "0")])
    wait_until(lambda: gateway.get_json("/seen") == 1, "the call is held")
    gateway.process.send_signal(signal.SIGINT)
    if how == "another SIGINT":
        wait_until(lambda: gateway.get_json("/seen") is None, "nobody listens any more")
        gateway.process.send_signal(signal.SIGINT)
    answer = held.getresponse()
    body = json.loads(answer.read())
    held.close()
    assert (answer.status, answer.getheader("retry-after"), answer.getheader("connection")) == (503, "1", "close")
    assert (body["error"], body["code"], body["detail"]) == ("Draining", 503, body["message"])
    assert gateway.ended() == 0
    assert gateway.output == "closed in order\n"


def test_an_application_may_end_its_process_with_status_1_and_the_reason_on_stderr(serve):
    gateway = serve()
    gateway.wait_until_ready()
    gateway.get("/fail")
    assert gateway.ended() == 1
    assert gateway.output == "gateway: this process ends: a loop failed too often\nclosed in order\n"


def test_an_application_whose_start_fails_ends_the_process_with_the_reason(serve):
    gateway = serve(app="tests.launcher.standin:create_app_whose_start_fails")
    assert gateway.ended() == 3
    assert "RuntimeError: the store is not there" in gateway.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_it_serves_ends_its_start_in_order_with_status_0(number, serve):
    gateway = serve(app="tests.launcher.standin:create_app_whose_start_takes_for_ever")
    wait_until(lambda: "starting" in gateway.output, "the start has begun")
    gateway.process.send_signal(number)
    assert gateway.ended() == 0
    assert gateway.output == "starting\ngiven up in order\n"


def test_it_ends_when_its_launcher_is_gone_also_where_the_system_does_not_see_to_it(tmp_path):
    code = (
        "from gateway.launcher.listening import listen\n"
        "from gateway.launcher.worker import run_worker\n"
        "from gateway.settings import load_settings\n"
        f"settings = load_settings(app={STANDIN!r}, redis_url='redis://127.0.0.1:1', alone=True)\n"
        f"raise SystemExit(run_worker(settings, listen('127.0.0.1', 0), parent={os.getppid()}))\n"
    )
    told = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (told.returncode, told.stdout) == (0, "closed in order\n")


# --- the gate alone -----------------------------------------------------------------------------


async def call(gate, sent, kind):
    async def receive():
        raise AssertionError("nothing is received here")

    async def send(message):
        sent.append(message)

    await gate({"type": kind}, receive, send)


async def cancelled(gate, sent, kind="http"):
    """Cancel a call once the application waits; the exception that came out, None if an answer did."""
    waiting = asyncio.ensure_future(call(gate, sent, kind))
    await asyncio.sleep(0)
    waiting.cancel()
    (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
    return outcome


async def wait_for_ever(scope, receive, send):
    await asyncio.Event().wait()


async def begin_and_wait_for_ever(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.Event().wait()


async def fail_when_cancelled(scope, receive, send):
    try:
        await asyncio.Event().wait()
    except BaseException:
        await send({"type": "lifespan.startup.failed", "message": "what Starlette does"})
        raise


async def test_a_cancellation_that_is_not_the_end_of_grace_is_passed_on():
    sent = []
    assert isinstance(await cancelled(Gate(wait_for_ever, pytest.fail), sent), asyncio.CancelledError)
    assert sent == []


async def test_an_answer_that_has_begun_is_never_answered_twice():
    gate, sent = Gate(begin_and_wait_for_ever, pytest.fail), []
    gate.is_over = True
    assert isinstance(await cancelled(gate, sent), asyncio.CancelledError)
    assert [message["type"] for message in sent] == ["http.response.start"]


async def test_a_refusal_at_the_end_bears_what_every_answer_to_the_request_does():
    async def application(scope, receive, send):
        scope["state"] = {"answer_headers": [(b"x-request-id", b"mine")]}
        await asyncio.Event().wait()

    gate, sent = Gate(application, pytest.fail), []
    gate.is_over = True
    assert await cancelled(gate, sent) is None
    assert (sent[0]["status"], dict(sent[0]["headers"])[b"x-request-id"]) == (503, b"mine")
    assert json.loads(sent[1]["body"])["error"] == "Draining"


async def test_a_start_that_is_cancelled_by_us_is_not_reported_as_failed():
    gate, sent = Gate(fail_when_cancelled, pytest.fail), []
    gate.is_draining = True
    assert await cancelled(gate, sent, "lifespan") is None
    assert sent == []


async def test_a_start_that_is_cancelled_otherwise_is_reported():
    gate, sent = Gate(fail_when_cancelled, pytest.fail), []
    assert isinstance(await cancelled(gate, sent, "lifespan"), asyncio.CancelledError)
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]


async def test_what_is_neither_call_nor_life_passes_untouched():
    seen = []

    async def application(*everything):
        seen.append(everything)

    gate = Gate(application, pytest.fail)
    gate.is_draining = True
    await gate({"type": "websocket"}, "receive", "send")
    assert seen == [({"type": "websocket"}, "receive", "send")]
