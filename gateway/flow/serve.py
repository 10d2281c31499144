"""The whole path of a generation or upscale, top to bottom; blocks nest in the order things are undone.

authenticate      who calls
shape             what exactly is asked, checked against policy, catalogue and grants (pure)
enter             rate, quotas, outstanding, open record; the slot at once if it can be
  wait            else in the queue, until the deadline
    forward       on one backend; at most once more elsewhere
leave             everything back, the record closed; then the answer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.errors import (
    AttemptFailed,
    BackendLacks,
    GatewayError,
    GenerationFailed,
    NoCapacity,
    StoreUnavailable,
    without_frames,
)
from gateway.domain.jobs import Operation
from gateway.domain.keys import Caller
from gateway.domain.options import effective
from gateway.domain.parameters import OperatorPolicy, Shaped, ShapingContext, shape
from gateway.domain.replies import AnswerBody
from gateway.flow.authenticate import NOWHERE, Authenticator, Epoch, Origin
from gateway.flow.byte_budget import Held, unbudgeted
from gateway.flow.enter import Entrance, KeysChanged, OwnOptionsChanged
from gateway.flow.faults import Faults
from gateway.flow.forward import Abandoned, Attempt, Forwarder, nothing_made
from gateway.flow.held import InterruptedInQueue
from gateway.flow.ids import new_id
from gateway.flow.job import Job, Timing
from gateway.flow.leave import Exit
from gateway.flow.off_loop import off_loop
from gateway.flow.own_jobs import OwnWork
from gateway.flow.own_view import OwnOptions
from gateway.flow.snapshot import CurrentCatalogue
from gateway.flow.turnstile import Turnstile
from gateway.ports import Granted, JobStore, Log, RateState
from gateway.ports.tracing import UNTRACED, Trace

MAX_ATTEMPTS = 2
LOOKUPS = 3


@dataclass(frozen=True, slots=True)
class Call:
    """One request for a job, as it came in. `credential` is the key as sent, None if there is none.

    `held` counts its bytes, and is given back by who made it.
    """

    operation: Operation
    body: bytes
    credential: str | None
    request_id: str
    origin: Origin = NOWHERE
    trace: Trace = UNTRACED
    held: Held = field(default_factory=unbudgeted)


@dataclass(frozen=True, slots=True)
class Served:
    """The answer's body as JSON, with what its headers tell."""

    body: AnswerBody
    job_id: str
    adjustments: tuple[str, ...]
    timing: Timing
    rate: RateState
    caller: Caller


@dataclass(frozen=True, slots=True)
class Gateway:
    """Puts the stages together; everything it needs is given to it."""

    authenticator: Authenticator
    entrance: Entrance
    forwarder: Forwarder
    way_out: Exit
    faults: Faults
    jobs: JobStore
    epoch: Epoch
    current: CurrentCatalogue
    options: OwnOptions
    work: OwnWork
    operator: OperatorPolicy
    log: Log
    turnstile: Turnstile = field(default_factory=Turnstile)

    async def serve(self, call: Call) -> Served:
        """The pictures that were asked for. Raises any GatewayError; then nothing is held and nothing is charged."""
        async with self.turnstile.turn() as turn_over:
            for _ in range(LOOKUPS):
                # Before the look-up: what it finds may be older than an epoch that comes while it is under way.
                epoch = self.epoch.current
                caller = await self.authenticator.authenticate(call.credential, call.origin)
                shaped, options_version = await self._shaped(call, caller)
                job = Job(new_id(), caller, shaped, call.request_id, self.way_out, self.log)
                job.options_version = options_version
                job.work.trace, job.work.held = call.trace, call.held
                self.faults.refuse(shaped, job.fingerprint)
                job.could_run_on = self.faults.candidates(shaped, shaped.runnable_on)
                try:
                    return await self._run(job, shaped, epoch, turn_over)
                except KeysChanged as changed:
                    self.epoch.current = changed.epoch
                except OwnOptionsChanged:
                    await self.options.kept(caller)
        raise NoCapacity("The keys are being changed right now. Try again in a moment.", 1.0)

    async def _shaped(self, call: Call, caller: Caller) -> tuple[Shaped, str | None]:
        """The request shaped by the key's posted options as last seen here, and their version: entering asks whether
        they are still these. What would be refused is shaped by those read anew, as no one would ask then.
        """
        if call.operation is Operation.UPSCALE:
            return await self._shape(call, caller, {}), None
        seen = await self.options.last_seen(caller)
        try:
            return await self._shape(call, caller, effective(seen.values)), seen.version
        except GatewayError:
            anew = await self.options.kept(caller)
            if anew.version == seen.version:
                raise
        return await self._shape(call, caller, effective(anew.values)), anew.version

    async def _shape(self, call: Call, caller: Caller, options: Mapping[str, Any]) -> Shaped:
        context = self.context(caller, options)
        return await off_loop(call.body, lambda: shape(call.operation, call.body, context))

    async def _run(self, job: Job, shaped: Shaped, epoch: str, turn_over: Callable[[], None]) -> Served:
        async with job.entered(self.entrance.enter, epoch):
            turn_over()
            try:
                attempt = await self._attempt(job, shaped)
            except InterruptedInQueue:
                attempt = nothing_made(shaped)
            finally:
                self.faults.ended(job.job_id)
            job.delivered(attempt)
        return Served(
            body=attempt.body,
            job_id=job.job_id,
            adjustments=(*shaped.adjustments, *attempt.adjustments),
            timing=job.timing,
            rate=job.rate,
            caller=job.caller,
        )

    async def _attempt(self, job: Job, shaped: Shaped) -> Attempt:
        """A good answer, from a second backend if the first gave none."""
        failed: GatewayError | None = None
        while True:
            try:
                granted = await job.backend()
            except NoCapacity as too_late:
                raise (_gave_up(failed) if failed else await self._come_back(too_late, job)) from failed
            try:
                attempt = await self._forward(shaped, granted, job)
            except (AttemptFailed, BackendLacks) as failure:
                failed = without_frames(failure)
                self.faults.failed(job.attempted(granted.backend, has_failed=True), failed)
                job.failed_on(granted.backend, failed)
                # Not after a time-out: the first backend may still be at it.
                is_last = isinstance(failed, Abandoned) or job.tries >= MAX_ATTEMPTS or job.is_late
                if is_last or not job.could_run_on:
                    raise _gave_up(failed) from failed
            else:
                if not attempt.is_interrupted:
                    self.faults.succeeded(job.attempted(granted.backend))
                return attempt
            await job.ask_again(self.jobs)

    async def _come_back(self, too_late: NoCapacity, job: Job) -> NoCapacity:
        """The same, with the wait that one more such call would have now, where that is foretold."""
        with suppress(StoreUnavailable):
            checkpoint = job.shaped.model.name if job.shaped.model else ""
            expected = await self.work.expectation(job.caller, checkpoint)
            if expected.wait_s is not None:
                too_late.retry_after_s = max(1.0, expected.wait_s)
        return too_late

    async def _forward(self, shaped: Shaped, granted: Granted, job: Job) -> Attempt:
        """One attempt; one that breaks off after its caller's own interrupt has ended as asked, and is not repeated."""
        try:
            with job.work.trace.step("attempt", backend=granted.backend):
                return await self.forwarder.forward(shaped, granted, job.work)
        except AttemptFailed as failed:
            if job.is_unwanted and not isinstance(failed, Abandoned):
                return nothing_made(shaped)
            raise

    def context(self, caller: Caller, options: Mapping[str, Any]) -> ShapingContext:
        """What a request of this caller is shaped by; `options` are what its key posted. Raises NoCapacity."""
        if not self.current.catalogue.backends:
            raise NoCapacity("No backend has been seen yet. Try again in a moment.", retry_after_s=2.0)
        return ShapingContext(
            catalogue=self.current.catalogue,
            grants=caller.grants,
            overrides=caller.overrides,
            caps=caller.plan.caps,
            default_model=caller.default_model,
            options=options,
            operator=self.operator,
        )


def _gave_up(failed: GatewayError) -> GenerationFailed:
    return GenerationFailed(f"The generation failed: {failed}")
