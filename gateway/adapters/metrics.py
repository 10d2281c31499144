"""Metrics for Prometheus: the only place that imports prometheus_client. The vocabulary stands in `docs/metrics.md`.

Labels are bound once and kept, so that observing is a look-up and an addition. Nothing here is global: each process has
one `Metrics` with a registry of its own, served on a port of its own by a thread, off the path of calls.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server
from prometheus_client.metrics import MetricWrapperBase

from gateway.domain.backends import Backend, BackendState
from gateway.domain.errors import (
    AttemptFailed,
    BackendAnswerTooLarge,
    BackendBroke,
    BackendTimedOut,
    BackendUnreachable,
)
from gateway.domain.jobs import Operation, Outcome
from gateway.ports import AnswerBounds, BackendClient, Log, RawReply
from gateway.ports.metrics import EndedCall, Sample

MOST_MODELS = 200
OTHER = "other"
OK = 200
# Seconds. A picture takes from half a second to minutes; stores and the gateway itself milliseconds.
LONG = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 300)
SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_RESULTS: tuple[tuple[type[AttemptFailed], str], ...] = (
    (BackendUnreachable, "unreachable"),
    (BackendBroke, "broke_off"),
    (BackendTimedOut, "timed_out"),
    (BackendAnswerTooLarge, "too_large"),
)

M = TypeVar("M", bound=MetricWrapperBase)


class Bound(dict[tuple[str, ...], M], Generic[M]):
    """The children of one metric by their labels; each is made once and then only looked up."""

    def __init__(self, metric: M) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> M:
        """Bind labels that were not seen before."""
        child: M = self._metric.labels(*labels)
        self[labels] = child
        return child


class MetricsPortTaken(Exception):
    """The metrics cannot be served; the sentence says on which port and what to change."""


class Metrics:
    """Fulfils `ports.metrics.Meter`; `registry` holds everything that is shown."""

    def __init__(self, version: str = "") -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._models: set[str] = set()
        self._loop_restarts: dict[str, int] = {}
        self._gauge("gateway_info", "Always 1; the version is the label.", "version").labels(version).set(1)
        self._make_for_calls()
        self._make_for_jobs()
        self._make_for_backends()
        self._make_for_the_process()

    # --- what is observed ------------------------------------------------------------------------

    def call_ended(self, call: EndedCall) -> None:
        """One call is over."""
        self._calls[call.route, str(call.status)].inc()
        self._call_seconds[(call.route,)].observe(call.seconds)
        if call.reason:
            self._refusals[call.route, call.reason].inc()
        if call.own_s is not None:
            self._own[(call.route,)].observe(call.own_s)
        self._bytes[(call.route, "in")].inc(call.bytes_in)
        self._bytes[(call.route, "out")].inc(call.bytes_out)

    def bytes_held(self, change: int) -> None:
        """So many bytes of request bodies more (or fewer) are held for calls under way."""
        self._held_bytes.inc(change)

    def job_ended(self, fields: Mapping[str, Any]) -> None:
        """One admitted job is over; a field that its line does not have counts as empty."""
        operation, outcome = str(fields.get("operation", "")), str(fields.get("outcome", ""))
        model = self.model_label(str(fields.get("model", "")))
        self._jobs[operation, outcome].inc()
        self._queue[(operation,)].observe(max(0.0, fields.get("queue_s", 0.0)))
        if fields.get("attempts", 0) > 1:
            self._retries[(operation,)].inc()
        if outcome == Outcome.FINISHED:
            self._generation[operation, model].observe(fields.get("generation_s", 0.0))
            self._images[operation, model].inc(fields.get("images", 0))
        if fields.get("swap_s", 0.0) > 0:
            self._swaps[(model,)].observe(fields["swap_s"])

    def store_answered(self, store: str, operation: str, seconds: float) -> None:
        """One script, command or transaction took so long."""
        self._stores[store, operation].observe(seconds)

    def backend_began(self, backend: str) -> None:
        """A job was sent there."""
        self._running[(backend,)].inc()

    def backend_ended(self, backend: str, result: str, seconds: float) -> None:
        """That job's answer came, or will not come."""
        self._running[(backend,)].dec()
        self._sent[backend, result].inc()
        self._busy[(backend,)].inc(seconds)

    def sampled(self, sample: Sample) -> None:
        """The state of the process now."""
        self._ready.set(sample.is_ready)
        self._leading.set(sample.is_leading)
        self._held_jobs[("waiting",)].set(sample.waiting)
        self._held_jobs[("running",)].set(sample.running)
        self._unheard.set(sample.unheard)
        self._silent.set(sample.store_silent_s)
        self._late.observe(max(0.0, sample.late_s))
        self._model_count.set(sample.models)
        self._set_aside.set(sample.set_aside)
        self._budget.set(sample.budget_bytes)
        self._budget_used.set(sample.budget_used_bytes)
        self._budget_waiting.set(sample.budget_waiting)
        for name, (is_running, restarts) in sample.loops.items():
            self._loops[(name,)].set(is_running)
            self._restarts[(name,)].inc(restarts - self._loop_restarts.get(name, 0))
            self._loop_restarts[name] = restarts
        self._show_backends(sample)

    def model_label(self, model: str) -> str:
        """The model's name as a label; names beyond the first `MOST_MODELS` of this process share one label."""
        if model not in self._models:
            if len(self._models) >= MOST_MODELS:
                return OTHER
            self._models.add(model)
        return model

    @contextmanager
    def served(self, host: str, port: int) -> Iterator[None]:
        """`GET /metrics` on that port within the block. Raises MetricsPortTaken."""
        try:
            server, thread = start_http_server(port, addr=host, registry=self.registry)
        except (OSError, OverflowError) as error:
            raise MetricsPortTaken(
                f"The metrics cannot be served on {host} port {port}: {error}. Choose another GATEWAY_METRICS_PORT; "
                "each further worker uses the next port."
            ) from error
        # The standard library's prints a traceback whenever somebody leaves in the middle of a scrape.
        server.handle_error = _ignore  # type: ignore[assignment]
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    # --- how it is shown -------------------------------------------------------------------------

    def _show_backends(self, sample: Sample) -> None:
        """Only the leader knows their states: who does not lead shows none, so that `max by` over all is the truth."""
        for name, state in [key for key in self._states if key[0] not in sample.backends]:
            self._state.remove(name, state)
            del self._states[name, state]
        for name, current in sample.backends.items():
            for state in BackendState:
                self._states[name, state.value].set(current == state)
            self._states[name, "recovering"].set(name in sample.recovering)

    def _make_for_calls(self) -> None:
        self._calls = self._counter("gateway_calls", "HTTP calls answered.", "route", "status")
        self._call_seconds = self._histogram("gateway_call_seconds", "A whole call.", LONG, "route")
        self._refusals = self._counter("gateway_refusals", "Calls refused or failed, by error.", "route", "reason")
        self._own = self._histogram(
            "gateway_own_seconds", "What the gateway itself took of a generation call.", SHORT, "route"
        )
        self._bytes = self._counter("gateway_body_bytes", "Bytes of bodies.", "route", "direction")
        self._held_bytes = self._gauge("gateway_body_bytes_held", "Bytes of request bodies held for calls under way.")

    def _make_for_jobs(self) -> None:
        self._jobs = self._counter("gateway_jobs", "Admitted jobs that ended.", "operation", "outcome")
        self._queue = self._histogram("gateway_queue_seconds", "From entering to a backend.", LONG, "operation")
        self._retries = self._counter("gateway_retries", "Jobs that were sent to a second backend.", "operation")
        self._generation = self._histogram(
            "gateway_generation_seconds", "Work of a finished job on its backend, without loading.", LONG,
            "operation", "model",
        )  # fmt: skip
        self._images = self._counter("gateway_images", "Pictures delivered.", "operation", "model")
        self._swaps = self._histogram(
            "gateway_swap_seconds", "Loading of a checkpoint because of a job, as estimated.", LONG, "model"
        )

    def _make_for_backends(self) -> None:
        self._sent = self._counter("gateway_backend_answers", "How jobs sent to a backend ended.", "backend", "result")
        self._busy = self._counter("gateway_backend_busy_seconds", "Time a backend spent on jobs.", "backend")
        self._running = Bound(self._gauge("gateway_backend_running", "Jobs at a backend now.", "backend"))
        self._state = self._gauge(
            "gateway_backend_state", "1 for the state it is in; the leader's.", "backend", "state"
        )
        self._states: Bound[Gauge] = Bound(self._state)
        self._model_count = self._gauge("gateway_models", "Models in the catalogue.")

    def _make_for_the_process(self) -> None:
        self._ready = self._gauge("gateway_ready", "1 while calls are welcome.")
        self._leading = self._gauge("gateway_dispatcher_leading", "1 in the one process that dispatches.")
        self._held_jobs = Bound(self._gauge("gateway_jobs_held", "Jobs of this process now.", "state"))
        self._unheard = self._gauge("gateway_leavings_unheard", "Ended jobs the store has not acknowledged.")
        self._silent = self._gauge("gateway_store_silent_seconds", "Since Redis last answered a heartbeat.")
        self._stores = self._histogram(
            "gateway_store_seconds", "One script or command of Redis, one transaction of SQL.", SHORT,
            "store", "operation",
        )  # fmt: skip
        self._set_aside = self._gauge("gateway_records_set_aside", "Records that SQL refused; the leader's.")
        self._budget = self._gauge("gateway_byte_budget_bytes", "Bytes of bodies and answers that may be held at once.")
        self._budget_used = self._gauge("gateway_byte_budget_used_bytes", "Bytes of that budget that are taken.")
        self._budget_waiting = self._gauge("gateway_byte_budget_waiting", "Bodies left unread until there is room.")
        self._late = Histogram(
            "gateway_event_loop_late_seconds", "How late a timer came.", registry=self.registry, buckets=SHORT
        )
        self._loops = Bound(self._gauge("gateway_loop_running", "1 while the background loop runs.", "loop"))
        self._restarts = self._counter("gateway_loop_restarts", "Restarts of a background loop.", "loop")

    def _counter(self, name: str, text: str, *labels: str) -> Bound[Counter]:
        return Bound(Counter(name, text, labels, registry=self.registry))

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Bound[Histogram]:
        return Bound(Histogram(name, text, labels, registry=self.registry, buckets=buckets))


def _ignore(_request: object, _client_address: object) -> None:
    """What a scraper does to its connection is no event of ours."""


class MeasuredLog:
    """A log whose line of a call is counted too, so that logs and metrics cannot disagree. Fulfils `ports.Log`."""

    def __init__(self, log: Log, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics

    def call(self, **fields: Any) -> None:  # noqa: ANN401 - whatever a line holds
        """Count it and write it."""
        self._metrics.job_ended(fields)
        self._log.call(**fields)

    def tell(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - as above
        """Write it."""
        self._log.tell(event, **fields)

    def warn(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - as above
        """Write it."""
        self._log.warn(event, **fields)

    def failed(self, event: str, error: BaseException, **fields: Any) -> None:  # noqa: ANN401 - as above
        """Write it."""
        self._log.failed(event, error, **fields)


class MeasuredClient:
    """A client of backends whose jobs are counted and timed. Fulfils `ports.BackendClient`."""

    def __init__(self, client: BackendClient, metrics: Metrics) -> None:
        self._client = client
        self._metrics = metrics

    async def generate(self, backend: Backend, operation: Operation, body: bytes, bounds: AnswerBounds) -> RawReply:
        """Send one job; whatever becomes of it is counted."""
        began, result = time.perf_counter(), "cancelled"
        self._metrics.backend_began(backend.name)
        try:
            reply = await self._client.generate(backend, operation, body, bounds)
            result = "ok" if reply.status == OK else f"{reply.status // 100}xx"
        except AttemptFailed as failed:
            result = next((word for kind, word in _RESULTS if isinstance(failed, kind)), "failed")
            raise
        else:
            return reply
        finally:
            self._metrics.backend_ended(backend.name, result, time.perf_counter() - began)

    async def get(self, backend: Backend, path: str, timeout_s: float) -> RawReply:
        """Read a route of the backend."""
        return await self._client.get(backend, path, timeout_s)

    async def post(self, backend: Backend, path: str, body: bytes, timeout_s: float) -> RawReply:
        """Post to a route of the backend."""
        return await self._client.post(backend, path, body, timeout_s)
