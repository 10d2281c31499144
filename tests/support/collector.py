"""A receiver of OTLP over HTTP on loopback, which decodes what comes: the other end of the real exporter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True, slots=True)
class Received:
    """One span as it was sent; ids as hexadecimal digits, times in seconds."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    seconds: float
    is_error: bool
    attributes: dict[str, Any]


@dataclass
class Collector:
    """What came so far: the spans, the facts of who sent them, and the bytes."""

    url: str = ""
    spans: list[Received] = field(default_factory=list)
    resource: dict[str, Any] = field(default_factory=dict)
    raw: bytes = b""

    def named(self, name: str) -> Received:
        """The only span of that name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.raw += body
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource |= _facts(group.resource.attributes)
            self.spans += [_received(span) for scope in group.scope_spans for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")


def _facts(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def _received(span: Span) -> Received:
    return Received(
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        is_error=span.status.code == span.status.STATUS_CODE_ERROR,
        attributes=_facts(span.attributes),
    )


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A receiver that runs within the block, on the test's own loop."""
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()
