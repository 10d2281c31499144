"""Spans by the SDK, read from memory; which variables turn it on; what of a caller's trace is believed."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import get_current_span

from gateway.adapters.tracing import (
    PassingOn,
    Recording,
    TracingUnavailable,
    open_tracer,
    outgoing_headers,
    parent_of,
)
from gateway.ports.tracing import Untraced
from tests.api.support import Lines
from tests.support.patience import PATIENCE_S

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01".encode()


def recording(exporter=None, log=None, **options):
    provider = TracerProvider(shutdown_on_exit=False, **options)
    provider.add_span_processor(SimpleSpanProcessor(exporter or InMemorySpanExporter()))
    return Recording(provider, "1", log or Lines(), flush_s=5.0)


@pytest.fixture
async def spans():
    """A tracer, and the spans that have ended, by name."""
    exporter = InMemorySpanExporter()
    tracer = recording(exporter)
    yield tracer, lambda: {span.name: span for span in exporter.get_finished_spans()}
    await tracer.close()


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"traceparent", b"")],
        [(b"traceparent", b"00-1-2-01")],
        [(b"traceparent", b"ff" + TRACEPARENT[2:])],
        [(b"traceparent", f"00-{'0' * 32}-{SPAN}-01".encode())],
        [(b"traceparent", f"00-{TRACE}-{'0' * 16}-01".encode())],
        [(b"traceparent", b"\xff" * 55)],
        [(b"traceparent", TRACEPARENT), (b"traceparent", TRACEPARENT)],
        [(b"tracestate", b"a=1")],
    ],
)
def test_a_trace_that_is_malformed_or_ambiguous_is_none(headers):
    assert parent_of(headers) is None


def test_a_callers_trace_is_read_with_its_state():
    found = get_current_span(
        parent_of([(b"tracestate", b"a=1"), (b"traceparent", TRACEPARENT), (b"tracestate", b"b=2")])
    ).get_span_context()
    assert (f"{found.trace_id:032x}", f"{found.span_id:016x}", found.trace_flags) == (TRACE, SPAN, 1)
    assert found.trace_state.to_header() == "a=1,b=2"


@pytest.mark.parametrize(
    "state",
    [
        b"a=" + b"1" * 600,
        ",".join(f"a{number}=1" for number in range(33)).encode(),
        b"a",
        b"=",
        b"bad key=1",
        b"a=\x01",
        b"a=1=2",
        b"\xff=1",
        b"A=1",
    ],
)
def test_a_state_that_cannot_be_used_is_left_out_in_silence_and_the_trace_goes_on(state, caplog):
    found = get_current_span(parent_of([(b"traceparent", TRACEPARENT), (b"tracestate", state)])).get_span_context()
    assert (found.is_valid, len(found.trace_state)) == (True, 0)
    assert caplog.records == []  # a caller could fill the log with it, in words of its own


@pytest.mark.parametrize(
    ("state", "taken"),
    [
        (b"a=1", "a=1"),
        (b"rojo=00f067aa0ba902b7, t@v/x_-*=a b~!", "rojo=00f067aa0ba902b7,t@v/x_-*=a b~!"),
        (b"a=1,,\tb=2", "a=1,b=2"),
        (b",", ""),
        (b"a=1,a=2", ""),
    ],
)
def test_a_state_is_taken_or_left_without_a_word(state, taken, caplog):
    found = get_current_span(parent_of([(b"traceparent", TRACEPARENT), (b"tracestate", state)])).get_span_context()
    assert (found.is_valid, found.trace_state.to_header()) == (True, taken)
    assert caplog.records == []


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "gateway"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "True"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_recorded_unless_the_variables_ask_for_it(environment):
    assert isinstance(open_tracer(environment, "1", Lines()), PassingOn)


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"},
        {"OTEL_TRACES_EXPORTER": "otlp"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
    ],
)
async def test_the_standard_variables_turn_it_on(environment):
    tracer = open_tracer(environment, "1", Lines())
    assert isinstance(tracer, Recording)
    await tracer.close()


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "Set otlp or none"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "4318"),
    ],
)
def test_what_cannot_be_done_as_asked_is_said_with_the_way_out(environment, sentence):
    with pytest.raises(TracingUnavailable, match=sentence):
        open_tracer(environment, "1", Lines())


def test_a_missing_sdk_is_said_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(TracingUnavailable, match=r"sdnext-gateway\[tracing\]"):
        open_tracer({"OTEL_TRACES_EXPORTER": "otlp"}, "1", Lines())


async def test_the_variables_name_the_service_and_our_words_fill_in(monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pictures")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    tracer = open_tracer({"OTEL_TRACES_EXPORTER": "otlp"}, "1.2", Lines())
    facts = tracer._provider.resource.attributes
    assert (facts["service.name"], facts["service.version"], facts["deployment.environment"]) == (
        "pictures",
        "1.2",
        "test",
    )
    await tracer.close()


async def test_a_step_that_fails_is_told_by_its_class_and_one_that_is_cancelled_is_no_error(spans):
    tracer, ended = spans
    with tracer.call("POST", []) as trace:
        with pytest.raises(ValueError, match="secret"), trace.step("fails", backend="one", nothing=""):
            raise ValueError("secret")
        with pytest.raises(asyncio.CancelledError), trace.step("ends"):
            raise asyncio.CancelledError
    fails, ends = ended()["fails"], ended()["ends"]
    assert (dict(fails.attributes), fails.status.is_ok, fails.status.description, fails.events) == (
        {"gateway.backend": "one", "error.type": "ValueError"},
        False,
        None,
        (),
    )
    assert (ends.attributes["error.type"], ends.status.is_unset) == ("CancelledError", True)


async def test_what_is_known_only_afterwards_has_its_true_length_and_lies_in_the_past(spans):
    tracer, ended = spans
    with tracer.call("POST", []) as trace:
        trace.past("load", 30.0, 20.0, is_estimated=True)
    load, call = ended()["load"], ended()["POST"]
    assert load.end_time - load.start_time == 20_000_000_000
    assert 9e9 < call.end_time - load.end_time < 20e9
    assert load.parent.span_id == call.context.span_id


async def test_tasks_that_begin_within_a_step_are_parts_of_it(spans):
    tracer, ended = spans

    async def part(trace):
        with trace.step("part"):
            await asyncio.sleep(0)

    with tracer.call("POST", []) as trace, trace.step("whole"):
        async with asyncio.TaskGroup() as group:
            group.create_task(part(trace))
    assert ended()["part"].parent.span_id == ended()["whole"].context.span_id


async def test_a_call_the_sampler_leaves_out_makes_no_steps_and_says_so_to_its_backends():
    exporter = InMemorySpanExporter()
    tracer = recording(exporter, sampler=ALWAYS_OFF)
    with tracer.call("POST", [(b"traceparent", TRACEPARENT)]) as trace, trace.step("enter"):
        sent = outgoing_headers()["traceparent"]
    assert (sent[:36], sent[-3:], trace.trace_id) == (f"00-{TRACE}-", "-00", TRACE)
    assert isinstance(trace, Untraced)
    assert exporter.get_finished_spans() == ()
    await tracer.close()


def test_outside_of_a_call_nothing_is_sent_along():
    assert outgoing_headers() == {}


class Stuck(SpanExporter):
    """A receiver that takes what comes and never answers, until it is told to."""

    def __init__(self):
        self.asked, self.answers = threading.Event(), threading.Event()

    def export(self, spans):
        self.asked.set()
        self.answers.wait(2 * PATIENCE_S)
        return SpanExportResult.SUCCESS


async def test_a_receiver_that_never_answers_holds_up_neither_calls_nor_the_end(capsys):
    stuck = Stuck()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(stuck, schedule_delay_millis=1))
    log = Lines()
    tracer = Recording(provider, "1", log, flush_s=0.05)
    for _ in range(3):
        with tracer.call("POST", []) as trace, trace.step("enter"):
            pass
    assert await asyncio.to_thread(stuck.asked.wait, PATIENCE_S)
    with tracer.call("POST", []) as trace, trace.step("enter"):  # while an export is under way
        pass
    async with asyncio.timeout(PATIENCE_S):
        await tracer.close()
    assert not stuck.answers.is_set()
    logging.getLogger("opentelemetry.sdk.anything").warning("still trying")
    assert (log.warnings, capsys.readouterr().err) == ([], "")
    stuck.answers.set()


async def test_what_opentelemetry_complains_of_is_one_line_of_ours_and_no_flood():
    log = Lines()
    tracer = recording(log=log)
    for number in range(100):
        logging.getLogger("opentelemetry.sdk.anything").warning("Queue full, dropping %s.", number)
    await tracer.close()
    logging.getLogger("opentelemetry.sdk.anything").addHandler(logging.NullHandler())
    logging.getLogger("opentelemetry.sdk.anything").warning("after the end")
    (line,) = log.warnings
    assert (line["event"], line["said"], line["unsaid"]) == ("traces_troubled", "Queue full, dropping 0.", 0)
