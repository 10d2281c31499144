"""What a key may do and has done: its plan, grants and overrides, and what of its tenant's quotas is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.domain.keys import Caller, Grants, Names
from gateway.domain.limits import DAY_US, MICROSECONDS, window_of
from gateway.domain.usage import Measure, Window
from gateway.ports import Ledger, Look, OwnJobStore


class Account:
    """Answers for the key that asks; `wall` gives seconds since the epoch."""

    def __init__(self, ledger: Ledger, own: OwnJobStore, wall: Callable[[], float]) -> None:
        self._ledger = ledger
        self._own = own
        self._wall = wall

    async def of(self, caller: Caller) -> dict[str, Any]:
        """As JSON. Raises StoreUnavailable."""
        jobs = await self._own.look_at(Look(caller.key_id))
        running = sum(job.is_running for job in jobs.jobs)
        return {
            "tenant": caller.tenant_name,
            "key": f"{caller.key_prefix}...",
            "expires_at": caller.expires_at,
            "plan": limits_of(caller),
            "grants": grants_of(caller.grants),
            "default_model": caller.default_model,
            "overrides": overrides_of(caller),
            "jobs": {"running": running, "waiting": len(jobs.jobs) - running},
            "usage": await self._usage(caller),
        }

    async def _usage(self, caller: Caller) -> dict[str, Any]:
        """Of the tenant's closed jobs in this UTC day and month: what is used, the quota (None for none), the rest."""
        plan = caller.plan
        quotas = {
            (Measure.IMAGES, Window.DAY): plan.images_per_day,
            (Measure.IMAGES, Window.MONTH): plan.images_per_month,
            (Measure.GPU_SECONDS, Window.DAY): plan.gpu_seconds_per_day,
            (Measure.GPU_SECONDS, Window.MONTH): plan.gpu_seconds_per_month,
        }
        usage: dict[str, Any] = {}
        for (measure, window), quota in quotas.items():
            since = window_of(window, round(self._wall() * MICROSECONDS))[0] * DAY_US / MICROSECONDS
            used = await self._ledger.used(caller.tenant_id, measure, window, since)
            left = None if quota is None else max(quota - used, 0.0)
            usage[f"{measure}_a_{window}"] = {"used": round(used, 3), "quota": quota, "left": left}
        return usage


def limits_of(caller: Caller) -> dict[str, Any]:
    """The plan's limits, in the words of the plan."""
    plan, caps = caller.plan, caller.plan.caps
    return {
        "name": plan.name,
        "requests_per_minute": plan.requests_per_minute,
        "burst": plan.burst,
        "max_concurrency": plan.max_concurrency,
        "max_queued": plan.max_queued,
        "max_wait_s": plan.max_wait_s,
        "keep_alive_s": plan.keep_alive_s,
        "body_bytes": caps.body_bytes,
        "generated_pixels": caps.generated_pixels,
        "upscaled_pixels": caps.upscaled_pixels,
        "steps": caps.steps,
        "images_per_call": caps.images_per_call,
    }


def grants_of(grants: Grants) -> dict[str, Any]:
    """The globs of names that a key may and may not use."""
    kinds = {"models": grants.models, "upscalers": grants.upscalers, "loras": grants.loras}
    return {kind: _globs(names) for kind, names in kinds.items()}


def _globs(names: Names) -> dict[str, list[str]]:
    return {"allow": list(names.allow), "deny": list(names.deny)}


def overrides_of(caller: Caller) -> dict[str, Any]:
    """What the key's overrides do to its requests."""
    overrides = caller.overrides
    return {
        "force": dict(overrides.force),
        "default": dict(overrides.default),
        "forbid": sorted(overrides.forbid),
        "minimum": dict(overrides.minimum),
        "maximum": dict(overrides.maximum),
    }
