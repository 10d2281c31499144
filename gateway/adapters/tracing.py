"""Traces by OpenTelemetry and W3C Trace Context: the only place that imports opentelemetry. Decision 0040.

The standard `OTEL_*` variables turn it on; then spans are made here, kept in a queue and sent in batches by a thread,
so that a receiver that is slow or away costs spans, never calls. Off, it only passes on what a caller sent. Which span
is the parent of the next travels in OpenTelemetry's own context variable, which tasks inherit.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Span, SpanKind, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.domain.backends import Backend
from gateway.domain.jobs import Operation
from gateway.ports import AnswerBounds, BackendClient, Log, RawReply
from gateway.ports.tracing import Fact, Trace, Tracer, Untraced

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

SERVICE = "sdnext-gateway"
FLUSH_S = 5.0
TELL_EVERY_S = 60.0
MOST_STATE_CHARACTERS, MOST_STATE_MEMBERS = 512, 32  # W3C Trace Context, sections 3.3.1.5 and 3.3.1.1
_STATE_MEMBER = re.compile(r"[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]")
SERVER_ERRORS = 500
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class TracingUnavailable(Exception):
    """Traces are asked for and cannot be made; the sentence says why and what to change."""


class OpenTracer(Tracer, Protocol):
    """A tracer with what the wiring needs of it."""

    def around(self, client: BackendClient) -> BackendClient:
        """The same client, whose jobs are steps of their calls."""


def open_tracer(environment: Mapping[str, str], version: str, log: Log) -> OpenTracer:
    """The tracer that the `OTEL_*` variables ask for. Raises TracingUnavailable."""
    if not _is_wanted(environment):
        return PassingOn()
    protocol = next(filter(None, (environment.get(name, "") for name in _PROTOCOLS)), "http/protobuf")
    if protocol != "http/protobuf":
        raise TracingUnavailable(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}; traces are sent as http/protobuf only. Set that, and the "
            "collector's port for it (4318)."
        )
    try:
        provider = _provider(version)
    except ImportError as error:
        raise TracingUnavailable(
            "OTEL_* variables ask for traces, but the OpenTelemetry SDK is not installed. Install "
            "sdnext-gateway[tracing], or set OTEL_SDK_DISABLED=true."
        ) from error
    return Recording(provider, version, log)


def _is_wanted(environment: Mapping[str, str]) -> bool:
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    if exporter not in ("", "otlp"):
        raise TracingUnavailable(f"OTEL_TRACES_EXPORTER is {exporter}; traces are sent by otlp only. Set otlp or none.")
    return exporter == "otlp" or any(environment.get(name) for name in _ENDPOINTS)


def _provider(version: str) -> TracerProvider:
    """Batches to the receiver that the variables name. What the variables say of the service wins over our words."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ours = Resource.create({"service.name": SERVICE, "service.version": version})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class PassingOn:
    """Makes no spans; a call that comes with a trace has its backends told of it. Fulfils `OpenTracer`."""

    def call(self, method: str, headers: Sequence[tuple[bytes, bytes]]) -> AbstractContextManager[Trace] | None:
        """The caller's trace, None where it sent none."""
        parent = parent_of(headers)
        return None if parent is None else _passed_on(parent)

    def around(self, client: BackendClient) -> BackendClient:
        """The client itself."""
        return client

    async def close(self) -> None:
        """Nothing is left."""


@contextmanager
def _passed_on(context: Context) -> Iterator[Trace]:
    token = attach(context)
    try:
        yield Untraced(_trace_id(get_current_span(context)))
    finally:
        detach(token)


class Recording:
    """Makes spans with the SDK and sends them. Fulfils `OpenTracer`."""

    def __init__(self, provider: TracerProvider, version: str, log: Log, flush_s: float = FLUSH_S) -> None:
        self._provider = provider
        self._flush_s = flush_s
        self._tracer = provider.get_tracer(SERVICE, version)
        self._complaints = _Complaints(log)
        logging.getLogger("opentelemetry").addHandler(self._complaints)

    @contextmanager
    def _call(self, method: str, parent: Context) -> Iterator[Trace]:
        span = self._tracer.start_span(method, parent, SpanKind.SERVER, attributes={"http.request.method": method})
        context = set_span_in_context(span, parent)
        if not span.is_recording():  # the sampler left it out: nothing is made of its steps
            with _passed_on(context) as trace:
                yield trace
            return
        token = attach(context)
        try:
            with _told(span):
                yield _Recorded(self, span, method)
        finally:
            detach(token)
            span.end()

    def call(self, method: str, headers: Sequence[tuple[bytes, bytes]]) -> AbstractContextManager[Trace] | None:
        """A server span; its parent is the caller's, where one was sent."""
        return self._call(method, parent_of(headers) or Context())

    @contextmanager
    def step(self, name: str, kind: SpanKind, facts: Mapping[str, Fact]) -> Iterator[Span]:
        """A span within the current one, itself the current one within the block."""
        span = self._tracer.start_span(name, kind=kind, attributes=_attributes(facts))
        token = attach(set_span_in_context(span))
        try:
            with _told(span):
                yield span
        finally:
            detach(token)
            span.end()

    def past(self, name: str, ago_s: float, seconds: float, facts: Mapping[str, Fact]) -> None:
        """A span within the current one that is over."""
        began_ns = time.time_ns() - int(ago_s * 1e9)
        span = self._tracer.start_span(name, start_time=began_ns, attributes=_attributes(facts))
        span.end(began_ns + int(seconds * 1e9))

    def around(self, client: BackendClient) -> BackendClient:
        """The client, with a client span for each job."""
        return _TracedClient(client, self)

    async def close(self) -> None:
        """Send what is queued, for at most `flush_s`; then it is given up with the thread that sends."""
        loop, is_sent = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(is_sent.set)

        threading.Thread(target=send, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(self._flush_s):
                await is_sent.wait()
        except TimeoutError:
            self._complaints.is_over = True  # the thread is still at it: nobody wants to hear how it fares
        else:
            logging.getLogger("opentelemetry").removeHandler(self._complaints)


class _Recorded:
    """The trace of a call whose spans are kept. Fulfils `Trace`."""

    def __init__(self, recording: Recording, span: Span, method: str) -> None:
        self.trace_id = _trace_id(span)
        self._recording = recording
        self._span = span
        self._method = method

    def note(self, **facts: Fact) -> None:
        self._span.set_attributes(_attributes(facts))

    def answered(self, route: str, status: int, reason: str) -> None:
        self._span.update_name(f"{self._method} {route}")
        self._span.set_attributes(_attributes({"route": route}))
        if status:
            self._span.set_attribute("http.response.status_code", status)
        if reason:
            self._span.set_attribute("error.type", reason)
        if not status or status >= SERVER_ERRORS:  # a 4xx is the caller's, not an error of this span
            self._span.set_status(StatusCode.ERROR)

    @contextmanager
    def step(self, name: str, **facts: Fact) -> Iterator[None]:
        with self._recording.step(name, SpanKind.INTERNAL, facts):
            yield

    def past(self, name: str, ago_s: float, seconds: float, **facts: Fact) -> None:
        self._recording.past(name, ago_s, seconds, facts)


class _TracedClient:
    """A client of backends each of whose jobs is a client span, the parent of what the backend makes of it."""

    def __init__(self, client: BackendClient, recording: Recording) -> None:
        self._client = client
        self._recording = recording

    async def generate(self, backend: Backend, operation: Operation, body: bytes, bounds: AnswerBounds) -> RawReply:
        """Send one job."""
        facts = {"backend": backend.name, "operation": operation.value}
        with self._recording.step("generate", SpanKind.CLIENT, facts) as span:
            reply = await self._client.generate(backend, operation, body, bounds)
            span.set_attribute("http.response.status_code", reply.status)
            return reply

    async def get(self, backend: Backend, path: str, timeout_s: float) -> RawReply:
        """Read a route of the backend."""
        return await self._client.get(backend, path, timeout_s)

    async def post(self, backend: Backend, path: str, body: bytes, timeout_s: float) -> RawReply:
        """Post to a route of the backend."""
        return await self._client.post(backend, path, body, timeout_s)


class _Complaints(logging.Handler):
    """What OpenTelemetry says of itself, as our lines: the first at once, then one a minute with the number unsaid."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._told_at = float("-inf")
        self._unsaid = 0
        self.is_over = False

    def emit(self, record: logging.LogRecord) -> None:
        if self.is_over:
            return
        now = time.monotonic()
        if now - self._told_at < TELL_EVERY_S:
            self._unsaid += 1
            return
        self._log.warn(
            "traces_troubled",
            said=record.getMessage(),
            unsaid=self._unsaid,
            way_out="Calls go on. Look whether the receiver of OTEL_EXPORTER_OTLP_ENDPOINT answers.",
        )
        self._told_at, self._unsaid = now, 0


def parent_of(headers: Sequence[tuple[bytes, bytes]]) -> Context | None:
    """The caller's span by its `traceparent`; None for none, a malformed one, or more than one."""
    parents = [value for name, value in headers if name == b"traceparent"]
    if len(parents) != 1:
        return None
    carrier = {"traceparent": parents[0].decode("latin-1")}
    state = ",".join(value.decode("latin-1") for name, value in headers if name == b"tracestate")
    if _is_state(state):
        carrier["tracestate"] = state
    context = TraceContextTextMapPropagator().extract(carrier, Context())
    return context if get_current_span(context).get_span_context().is_valid else None


def _is_state(text: str) -> bool:
    """Whether OpenTelemetry will take it: of what it does not take it writes a line with the caller's own words."""
    members = [member for member in (part.strip(" \t") for part in text.split(",")) if member]
    is_small = len(text) <= MOST_STATE_CHARACTERS and len(members) <= MOST_STATE_MEMBERS
    return is_small and all(_STATE_MEMBER.fullmatch(member) for member in members)


def outgoing_headers() -> dict[str, str]:
    """What tells a backend of the current span: `traceparent` and `tracestate`, or nothing."""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier


@contextmanager
def _told(span: Span) -> Iterator[None]:
    """An error that leaves the block is told by its class alone: its words may be the caller's."""
    try:
        yield
    except BaseException as error:
        span.set_attribute("error.type", type(error).__name__)
        if isinstance(error, Exception):  # to be cancelled is none
            span.set_status(StatusCode.ERROR)
        raise


def _attributes(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    return {f"gateway.{name}": fact for name, fact in facts.items() if fact != ""}


def _trace_id(span: Span) -> str:
    return f"{span.get_span_context().trace_id:032x}"
