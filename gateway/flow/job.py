"""The life of one job within its call: entered, waiting, on a backend, left. Leaving happens whatever else does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.domain.errors import BackendUnfit, GatewayError, NoCapacity, StoreUnavailable
from gateway.domain.faults import Attempted
from gateway.domain.jobs import Outcome
from gateway.domain.keys import Caller
from gateway.domain.parameters import Shaped
from gateway.domain.scheduling import Ticket
from gateway.flow.dispatch import ticket_bytes
from gateway.flow.enter import quotas_of, rates_of
from gateway.flow.faults import attempted, fingerprint_of
from gateway.flow.forward import ASSUMED_S_PER_MEGAPIXEL_STEP, Attempt, Work, swap_s_of
from gateway.flow.held import HeldJob, InterruptedInQueue
from gateway.flow.ids import new_id
from gateway.flow.leave import Exit
from gateway.ports import Entry, Granted, JobStore, Leaving, Log, RateState

MOST_UNFIT_TIMES = 3  # of one job: each may cost a picture's work

Enter = Callable[[Entry], Awaitable[tuple[HeldJob, RateState]]]


@dataclass(slots=True)
class Timing:
    """Where a job's time went, in seconds."""

    queue_s: float = 0.0
    swap_s: float = 0.0
    generation_s: float = 0.0


class Job:
    """One job of one call. Owned by that call alone."""

    def __init__(self, job_id: str, caller: Caller, shaped: Shaped, request_id: str, way_out: Exit, log: Log) -> None:
        self.options_version: str | None = None
        self.job_id = job_id
        self.caller = caller
        self.shaped = shaped
        self.request_id = request_id
        self.could_run_on = shaped.runnable_on
        self.attempts = 0
        self.timing = Timing()
        self.rate = RateState(0, 0.0)
        self.loaded: str | None = ""  # a slot that was granted too late to be used: nothing was loaded there
        self._exit = way_out
        self._log = log
        self._held = HeldJob(job_id)
        self._entered_at = self._started_at = 0.0
        self._granted: Granted | None = None
        self._attempt: Attempt | None = None
        self.work = Work()
        self._failures: list[str] = []
        self._unfit_times = 0

    @asynccontextmanager
    async def entered(self, enter: Enter, epoch: str) -> AsyncIterator[None]:
        """Admitted within the block; after it everything is given back and the record is closed."""
        self._entered_at = _now()
        with self.work.trace.step("enter"):
            self._held, self.rate = await enter(self._entry(epoch))
        self.work.attention = self._held.attention
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            if isinstance(raised, GatewayError):
                raised.job_id = self.job_id
            raise
        finally:
            await _finish(self._leave(error))

    @property
    def tries(self) -> int:
        """How often it was really tried: on a backend whose options were right."""
        return self.attempts - self._unfit_times

    @property
    def is_unwanted(self) -> bool:
        """Whether its caller has interrupted or skipped it."""
        return bool(self.work.attention.wish)

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed: the plan's longest wait, counted from entering."""
        return _now() >= self._entered_at + self.caller.plan.max_wait_s

    async def backend(self) -> Granted:
        """The backend to run on. Raises NoCapacity when the deadline passes first, InterruptedInQueue."""
        wait_s = self.caller.plan.max_wait_s
        try:
            with self.work.trace.step("wait"):
                async with asyncio.timeout_at(self._entered_at + wait_s):
                    granted = await self._held.backend()
        except InterruptedInQueue:
            self.timing.queue_s = _now() - self._entered_at - self.timing.swap_s - self.timing.generation_s
            raise
        except TimeoutError:
            raise NoCapacity(
                f"No backend became free within {wait_s:.0f} s. Try again a little later.", retry_after_s=10.0
            ) from None
        self.timing.queue_s = _now() - self._entered_at - self.timing.swap_s - self.timing.generation_s
        self.attempts += 1
        self._granted, self._started_at = granted, _now()
        self.work.is_under_way = False
        self.loaded = ""  # uncertain until the answer is verified; the watcher finds out
        return granted

    def fingerprint(self) -> str:
        """Equal for equal requests. Hashes every picture in it: milliseconds for megabytes."""
        return fingerprint_of(self.shaped)

    def attempted(self, backend: str, *, has_failed: bool = False) -> Attempted:
        """The attempt on that backend, for the book of faults."""
        fingerprint = self.fingerprint() if has_failed else ""
        return attempted(self.job_id, fingerprint, self.caller.tenant_id, self.shaped, backend)

    def failed_on(self, backend: str, failure: GatewayError) -> None:
        """That attempt gave nothing; the same backend is not asked again, unless it was only started a moment ago."""
        self._failures.append(f"{backend}: {failure}")
        if isinstance(failure, BackendUnfit) and self._unfit_times < MOST_UNFIT_TIMES:
            self._unfit_times += 1  # once its options are right it may do it, and that was no try of the job's
        else:
            self.could_run_on -= {backend}
        self._granted = None
        self.loaded = ""

    async def ask_again(self, jobs: JobStore) -> None:
        """Give the slot back and wait for another backend. Raises StoreUnavailable."""
        candidates, ticket = self._candidates(), ticket_bytes(self._ticket())
        self._held.wait_again(candidates, ticket)
        # A connection that broke says nothing of the backend: it may still be at it.
        loaded = None if self.work.is_under_way else self.loaded
        place = await jobs.requeue(new_id(), self.job_id, candidates, ticket, loaded)
        if place is None:
            raise StoreUnavailable("The gateway's store lost this job. Send the call again.")
        if isinstance(place, Granted):
            self._held.take(place)

    def delivered(self, attempt: Attempt) -> None:
        """The answer is good; what remains is to leave."""
        self._attempt = attempt
        self.loaded = self.shaped.model.name if self.shaped.model else None
        if attempt.is_interrupted:  # perhaps while it loaded: the watcher finds out
            self.loaded = "" if self.shaped.model else None
        self._took(attempt.took_s, had_to_load=attempt.had_to_load)

    def _took(self, seconds: float, *, had_to_load: bool) -> None:
        if had_to_load:
            self.timing.swap_s = swap_s_of(self.shaped, seconds)
        self.timing.generation_s = seconds - (self.timing.swap_s if had_to_load else 0.0)

    async def _leave(self, error: BaseException | None) -> None:
        outcome = self._outcome(error)
        # What a caller leaves was worked on all the same.
        if outcome is Outcome.INTERRUPTED and self._granted is not None:
            wanted = self.shaped.model.name if self.shaped.model else ""
            self._took(_now() - self._started_at, had_to_load=bool(wanted) and self._granted.loaded_before != wanted)
        images = self._attempt.images if self._attempt and outcome is Outcome.FINISHED else 0
        final = self._final(images, error)
        leaving = Leaving(
            operation_id=new_id(),
            job_id=self.job_id,
            outcome=outcome,
            final=msgspec.json.encode(final),
            loaded=self.loaded,
            images=images,
            gpu_seconds=self.timing.generation_s,
            is_abandoned=self.work.is_under_way,
        )
        with self.work.trace.step("leave"):
            await self._exit.leave(leaving)
        self._write_line(outcome, final)

    def _final(self, images: int, error: BaseException | None) -> dict[str, Any]:
        """What the ledger's record learns at the end."""
        return {
            "swap_s": self.timing.swap_s,
            "generation_s": self.timing.generation_s,
            "gpu_seconds": self.timing.generation_s,
            "images": images,
            "bytes_out": self._attempt.body.size if self._attempt else 0,
            "attempts": self.attempts,
            "reason": "; ".join(self._failures) or (str(error) if error else ""),
        }

    def _write_line(self, outcome: Outcome, final: dict[str, Any]) -> None:
        trace = self.work.trace
        facts: dict[str, str | float] = {
            "job_id": self.job_id,
            "operation": self.shaped.operation,
            "model": self.shaped.model.name if self.shaped.model else "",
            "backend": self._attempt.backend if self._attempt else "",
            "outcome": outcome,
            "queue_s": round(self.timing.queue_s, 4),
            "why": self._granted.why if self._granted else "",
        }
        trace.note(**facts, attempts=self.attempts)
        self._log.call(
            request_id=self.request_id,
            tenant=self.caller.tenant_name,
            key=self.caller.key_prefix,
            **facts,
            **final,
            **({"trace_id": trace.trace_id} if trace.trace_id else {}),
        )

    def _outcome(self, error: BaseException | None) -> Outcome:
        if error is None:
            is_interrupted = self._attempt is not None and self._attempt.is_interrupted
            return Outcome.INTERRUPTED if is_interrupted else Outcome.FINISHED
        if isinstance(error, asyncio.CancelledError):
            return Outcome.WITHDRAWN if self.attempts == 0 else Outcome.INTERRUPTED
        if isinstance(error, NoCapacity):
            return Outcome.EXPIRED
        return Outcome.FAILED

    def _entry(self, epoch: str) -> Entry:
        plan, shaped = self.caller.plan, self.shaped
        estimate = shaped.price.megapixel_steps * ASSUMED_S_PER_MEGAPIXEL_STEP
        return Entry(
            operation_id="",
            job_id=self.job_id,
            tenant_id=self.caller.tenant_id,
            epoch=epoch,
            checkpoint=shaped.model.name if shaped.model else "",
            runnable_on=self._candidates(),
            max_concurrency=plan.max_concurrency,
            max_queued=plan.max_queued,
            rates=rates_of(self.caller),
            quotas=quotas_of(self.caller, shaped.price.images, estimate),
            static=self._static(),
            ticket=ticket_bytes(self._ticket()),
            key_id=self.caller.key_id,
            task_id=self.shaped.task_id,
            options_version=self.options_version,
        )

    def _static(self) -> bytes:
        fields = self.shaped.fields
        width, height = self.shaped.expected or (0, 0)
        return msgspec.json.encode(
            {
                "tenant_id": self.caller.tenant_id,
                "key_id": self.caller.key_id,
                "operation": self.shaped.operation,
                "model": self.shaped.model.name if self.shaped.model else "",
                "megapixel_steps": self.shaped.price.megapixel_steps,
                "steps": fields.get("steps", 0),
                "width": width,
                "height": height,
                "bytes_in": self.shaped.price.input_bytes,
                "adjustments": ", ".join(self.shaped.adjustments),
            }
        )

    def _candidates(self) -> tuple[str, ...]:
        return tuple(sorted(self.could_run_on))

    def _ticket(self) -> Ticket:
        fields = self.shaped.fields  # what does the work without a checkpoint has a speed of its own, by its name
        return Ticket(
            job_id=self.job_id,
            tenant=self.caller.tenant_id,
            checkpoint=self.shaped.model.name if self.shaped.model else "",
            runnable_on=self.could_run_on,
            arrived_at=0.0,
            work=self.shaped.price.megapixel_steps,
            tenant_cap=self.caller.plan.max_concurrency,
            tenant_weight=self.caller.plan.weight,
            upscaler="" if self.shaped.model else str(fields.get("upscaler_1") or fields.get("model", "")),
            output_megapixels=self.shaped.price.output_megapixels,
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _finish(leaving: Awaitable[None]) -> None:
    """Leave even while the call is being cancelled; the store's own time-outs bound it. Raises what leaving raises."""
    cancelled: asyncio.CancelledError | None = None
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_failure_of(leaving), name="leave")
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if (failure := task.result()) is not None:
        raise failure
    if cancelled is not None:
        raise cancelled


async def _failure_of(awaitable: Awaitable[None]) -> Exception | None:
    """What it raises, as a value: out of the group it would come as a group of errors, which no table knows."""
    try:
        await awaitable
    except Exception as error:  # noqa: BLE001 - raised again by the caller
        return error
    return None
