"""What is told of a call to a receiver of traces: a whole gateway, the real exporter, a real receiver on loopback."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.simulator.sdnext.faults import parse_fault
from tests.api.whole import KEY, SMALL, opened
from tests.support.collector import collecting
from tests.support.patience import PATIENCE_S
from tests.support.ports import free_port

TRACE, CALLERS_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLERS_SPAN}-01"
AUTH = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def at(monkeypatch):
    """Send traces to an address."""

    def send_to(url):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)

    return send_to


async def post(whole, body=SMALL, path="/sdapi/v1/txt2img", **headers):
    return await whole.client.post(path, json=body, headers=AUTH | headers)


def sent_to_backend(whole):
    return [entry["headers"] for entry in whole.backend.simulation.received.listing("/sdapi/v1/txt2img")]


async def test_a_call_is_told_as_one_tree_of_spans_from_its_caller_to_its_backend(tmp_path, valkey, at):
    async with collecting() as collector:
        at(collector.url)
        async with opened(tmp_path, valkey) as whole:
            answer = await post(whole, {**SMALL, "sd_model_checkpoint": "blue"}, traceparent=TRACEPARENT)
            assert answer.status_code == 200
            (headers,) = sent_to_backend(whole)
    names = {span.span_id: span.name for span in collector.spans} | {CALLERS_SPAN: "the caller"}
    assert {(span.name, span.kind, names[span.parent_id]) for span in collector.spans} == {
        ("POST txt2img", "server", "the caller"),
        ("enter", "internal", "POST txt2img"),
        ("wait", "internal", "POST txt2img"),
        ("attempt", "internal", "POST txt2img"),
        ("generate", "client", "attempt"),
        ("load", "internal", "attempt"),
        ("verify", "internal", "attempt"),
        ("leave", "internal", "POST txt2img"),
    }
    assert {span.trace_id for span in collector.spans} == {TRACE}
    assert not any(span.is_error for span in collector.spans)
    generate, call = collector.named("generate"), collector.named("POST txt2img")
    assert headers["traceparent"] == f"00-{TRACE}-{generate.span_id}-01"
    assert generate.attributes == {
        "gateway.backend": "one",
        "gateway.operation": "txt2img",
        "http.response.status_code": 200,
    }
    facts = {name: call.attributes[name] for name in call.attributes if name.startswith(("http", "error"))}
    assert facts == {"http.request.method": "POST", "http.response.status_code": 200}
    ours = {name.removeprefix("gateway."): fact for name, fact in call.attributes.items() if name not in facts}
    assert ours.pop("tenant_id")
    assert ours.pop("key_id")
    assert ours.pop("queue_s") >= 0
    assert ours.pop("why")
    assert ours == {
        "route": "txt2img",
        "request_id": answer.headers["x-request-id"],
        "job_id": answer.headers["x-job-id"],
        "operation": "txt2img",
        "model": "blue",
        "backend": "one",
        "outcome": "finished",
        "attempts": 1,
    }
    assert collector.resource["service.name"] == "sdnext-gateway"


async def test_a_traced_call_tells_no_key_no_prompt_and_no_words_of_an_error(tmp_path, valkey, at):
    async with collecting() as collector:
        at(collector.url)
        async with opened(tmp_path, valkey) as whole:
            await post(whole, {**SMALL, "prompt": "my secret picture"})
            await post(whole, {**SMALL, "sd_model_checkpoint": "my secret model"})
            await post(whole, path=f"/k/{KEY}/sdapi/v1/txt2img")
            await whole.client.get(f"/k/{KEY}/sdapi/v1/progress?secret=1")
    assert collector.spans
    assert b"secret" not in collector.raw
    assert KEY.encode() not in collector.raw


async def test_a_refused_call_is_told_with_its_reason_and_without_an_error_of_ours(tmp_path, valkey, at):
    async with collecting() as collector:
        at(collector.url)
        async with opened(tmp_path, valkey) as whole:
            await post(whole, {**SMALL, "sd_model_checkpoint": "green"})
            await whole.client.get("/readyz")
            await whole.client.get("/nowhere")
    call = collector.named("POST txt2img")
    assert (call.attributes["error.type"], call.attributes["http.response.status_code"]) == ("UnknownModel", 422)
    assert (call.is_error, call.parent_id) == (False, "")
    assert {span.name for span in collector.spans} == {"POST txt2img", "GET unknown"}


async def test_an_attempt_that_fails_is_told_by_the_class_of_its_error(tmp_path, valkey, at):
    async with collecting() as collector:
        at(collector.url)
        async with opened(tmp_path, valkey) as whole:
            whole.backend.simulation.faults.arm(parse_fault("500"))
            assert (await post(whole)).status_code == 500
    attempt, call = collector.named("attempt"), collector.named("POST txt2img")
    assert (attempt.is_error, attempt.attributes["error.type"]) == (True, "AttemptFailed")
    assert (call.is_error, call.attributes["error.type"]) == (True, "GenerationFailed")
    assert call.attributes["gateway.outcome"] == "failed"


def lines_of(capsys, event):
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    return [line for line in found if line["event"] == event]


async def test_without_a_receiver_the_callers_trace_is_passed_on_and_stands_in_the_log(tmp_path, valkey, capsys):
    async with opened(tmp_path, valkey, log_level="info") as whole:
        state = "vendor=1,other=2"
        assert (await post(whole, traceparent=TRACEPARENT, tracestate=state)).status_code == 200
        assert (await post(whole)).status_code == 200
        with_trace, without = sent_to_backend(whole)
    assert (with_trace["traceparent"], with_trace["tracestate"]) == (TRACEPARENT, state)
    assert "traceparent" not in without
    assert [line.get("trace_id") for line in lines_of(capsys, "call")] == [TRACE, None]


async def test_a_refusal_is_logged_with_the_trace_of_its_call(tmp_path, valkey, capsys):
    async with opened(tmp_path, valkey, log_level="info") as whole:
        await post(whole, {**SMALL, "sd_model_checkpoint": "green"}, traceparent=TRACEPARENT)
    assert [line["trace_id"] for line in lines_of(capsys, "call")] == [TRACE]


async def test_a_receiver_that_is_away_costs_spans_and_never_calls(tmp_path, valkey, at, monkeypatch, capsys):
    at(f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    async with asyncio.timeout(PATIENCE_S), opened(tmp_path, valkey, log_level="warning") as whole:
        statuses = [(await post(whole)).status_code for _ in range(5)]
    assert statuses == [200] * 5
    (line,) = lines_of(capsys, "traces_troubled")
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in line["way_out"]


async def test_a_start_that_cannot_trace_as_asked_says_why(tmp_path, valkey, at, monkeypatch):
    at("http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(Exception, match="sent as http/protobuf only"):
        async with opened(tmp_path, valkey):
            pass
