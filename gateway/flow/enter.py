"""Admission: one script call takes rate, quota, outstanding and, when it can, the slot; the answer becomes facts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from gateway.domain.errors import (
    GatewayError,
    NoCapacity,
    QuotaExceeded,
    RateLimited,
    StoreUnavailable,
    TooManyOutstanding,
)
from gateway.domain.keys import Caller
from gateway.domain.usage import Measure, Window
from gateway.flow.held import HeldJob, HeldJobs
from gateway.flow.ids import new_id
from gateway.ports import (
    Admitted,
    Entry,
    EpochChanged,
    Granted,
    JobStore,
    Ledger,
    OptionsChanged,
    Quota,
    Rate,
    RateState,
    SeedsNeeded,
)
from gateway.ports import Refused as RefusedByStore

SHORTEST_WAIT_S = 1.0  # also where no forecast is to be had
ATTEMPTS = 4  # an epoch that changed and quotas that must be seeded each cost one more


class KeysChanged(GatewayError):
    """The caller was looked up under an older epoch; it must be looked up again. Never reaches the caller."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        super().__init__("Keys changed meanwhile. Try again.")


class OwnOptionsChanged(GatewayError):
    """Its key has changed the options that shaped the job; they must be read anew. Never reaches the caller."""

    def __init__(self) -> None:
        super().__init__("Options of this key changed meanwhile. Try again.")


class Entrance:
    """Where jobs are admitted."""

    def __init__(self, jobs: JobStore, ledger: Ledger, held: HeldJobs) -> None:
        self._jobs = jobs
        self._ledger = ledger
        self._held = held

    async def enter(self, entry: Entry) -> tuple[HeldJob, RateState]:
        """The admitted job, waiting or with its backend; it must leave whatever happens next.

        Raises RateLimited, QuotaExceeded, TooManyOutstanding, NoCapacity, KeysChanged, OwnOptionsChanged and
        StoreUnavailable: nothing is held then, and what an unanswered script may have taken is given back at the next
        heartbeat.
        """
        job = self._held.open(entry.job_id)
        try:
            admitted = await self._admit(entry)
        except BaseException:
            self._held.close(entry.job_id)
            raise
        job.was_admitted(entry, admitted.place.at, asyncio.get_running_loop().time())
        if isinstance(admitted.place, Granted):
            job.take(admitted.place)
        return job, admitted.rate

    async def _admit(self, entry: Entry) -> Admitted:
        seeds: dict[tuple[Measure, Window], float] = {}
        for _ in range(ATTEMPTS):
            answer = await self._jobs.enter(_with(entry, new_id(), seeds))
            match answer:
                case Admitted():
                    return answer
                case EpochChanged():
                    raise KeysChanged(answer.epoch)
                case OptionsChanged():
                    raise OwnOptionsChanged
                case RefusedByStore():
                    raise _refusal(answer, entry)
                case SeedsNeeded():
                    for measure, window, since in answer.windows:
                        used = await self._ledger.used(entry.tenant_id, measure, window, since)
                        seeds[measure, window] = used
        raise StoreUnavailable("The gateway's store keeps forgetting this tenant's quota. Try again in a moment.")


def _with(entry: Entry, operation_id: str, seeds: dict[tuple[Measure, Window], float]) -> Entry:
    return replace(entry, operation_id=operation_id, seeds=seeds)


def rates_of(caller: Caller) -> tuple[Rate, ...]:
    """The rates that a generation or upscale of this caller counts against."""
    return (Rate(f"t:{caller.tenant_id}", caller.plan.requests_per_minute, caller.plan.burst),)


def quotas_of(caller: Caller, images: int, gpu_seconds: float) -> tuple[Quota, ...]:
    """The quotas that a job of this caller draws on, with what it reserves of each."""
    plan = caller.plan
    limits = (
        (Measure.IMAGES, Window.DAY, plan.images_per_day, float(images)),
        (Measure.IMAGES, Window.MONTH, plan.images_per_month, float(images)),
        (Measure.GPU_SECONDS, Window.DAY, plan.gpu_seconds_per_day, gpu_seconds),
        (Measure.GPU_SECONDS, Window.MONTH, plan.gpu_seconds_per_month, gpu_seconds),
    )
    return tuple(
        Quota(measure, window, limit, amount) for measure, window, limit, amount in limits if limit is not None
    )


def _refusal(refused: RefusedByStore, entry: Entry) -> GatewayError:
    wait = refused.retry_after_s
    match refused.limit:
        case "rate":
            return RateLimited(f"Too many requests a minute. The next one fits in {wait:.1f} s.", wait)
        case "quota":
            return QuotaExceeded(f"The quota of {refused.which} is used up. It begins anew in {wait:.0f} s.", wait)
        case "outstanding":
            most = entry.max_concurrency + entry.max_queued
            return TooManyOutstanding(
                f"{refused.which} jobs of yours wait or run; {most} may. Send the next when one is done.",
                max(SHORTEST_WAIT_S, wait),
            )
    return NoCapacity(
        "Every backend is busy and this plan does not wait. Try again in a moment.", max(SHORTEST_WAIT_S, wait)
    )
