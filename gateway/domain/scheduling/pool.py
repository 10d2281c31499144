"""The pool as the scheduler sees it: which backend is free, what is loaded where, who runs how many jobs.

Mutable, owned by one scheduler; knows nothing of waiting jobs.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

from gateway.domain.scheduling.values import BackendView, Running
from gateway.domain.speeds import Speeds


class Pool:
    """The backends by name, by loaded checkpoint and by tenant served."""

    def __init__(self, speeds: Speeds) -> None:
        self.views: dict[str, BackendView] = {}
        self._speeds = speeds
        self._free: set[str] = set()
        self._copies: dict[str, set[str]] = {}
        self._running: dict[str, int] = {}
        self._loaded_since: dict[str, float] = {}
        self._where: dict[str, str] = {}

    def copy(self) -> Pool:
        """A pool in the same state that can change on its own."""
        pool = Pool(self._speeds)
        pool.views, pool._free = dict(self.views), set(self._free)
        pool._copies = {checkpoint: set(names) for checkpoint, names in self._copies.items()}
        pool._running, pool._loaded_since = dict(self._running), dict(self._loaded_since)
        pool._where = dict(self._where)
        return pool

    def put(self, view: BackendView, now: float) -> BackendView | None:
        """Take the new view of a backend; returns the view before, None for a new backend."""
        before = self.views.get(view.name)
        if before is not None:
            self._unlink(before)
            if before.loaded != view.loaded:
                self._loaded_since[view.name] = now
            if _same_job(before.running, view.running):
                view = replace(view, running=before.running)
        self.views[view.name] = view
        if view.is_free:
            self._free.add(view.name)
        if view.usable and view.loaded:
            self._copies.setdefault(view.loaded, set()).add(view.name)
        if view.running is not None and view.running.job_id:
            self._running[view.running.tenant] = self._running.get(view.running.tenant, 0) + 1
            self._where[view.running.job_id] = view.name
        return before

    def remove(self, name: str) -> BackendView | None:
        """The backend is no longer part of the pool; returns its last view."""
        before = self.views.pop(name, None)
        if before is not None:
            self._unlink(before)
            self._loaded_since.pop(name, None)
        return before

    def free(self) -> list[str]:
        """The free backends, faster first."""
        return sorted(self._free, key=lambda name: (self._speeds.generation.level(name), name))

    @property
    def has_free(self) -> bool:
        """Whether any backend is free."""
        return bool(self._free)

    @property
    def is_idle(self) -> bool:
        """Whether no usable backend runs anything."""
        return len(self._free) == sum(1 for view in self.views.values() if view.usable)

    @property
    def usable(self) -> int:
        """How many backends are up, free or busy; at least 1."""
        return max(1, sum(1 for view in self.views.values() if view.usable))

    def copies(self, checkpoint: str) -> Collection[str]:
        """The usable backends, free or busy, that have the checkpoint or are loading it for a job."""
        return self._copies.get(checkpoint, ())

    def where(self, job_id: str) -> str | None:
        """The backend that runs the job."""
        return self._where.get(job_id)

    def running_of(self, tenant: str) -> int:
        """How many jobs the tenant runs now."""
        return self._running.get(tenant, 0)

    def swap_times_stayed(self, name: str, now: float) -> float:
        """For how many of its swap times the backend has had its checkpoint; infinite when since before we looked."""
        since = self._loaded_since.get(name)
        if since is None:
            return math.inf
        return (now - since) / max(1e-3, self._speeds.swap.rate(name, self.views[name].loaded))

    def remaining_s(self, name: str, now: float) -> float:
        """Seconds until the running job should end; 0.0 when free or overrun."""
        running = self.views[name].running
        if running is None:
            return 0.0
        return max(0.0, running.started_at + self.expected_s(name, running) - now)

    def is_loading(self, name: str, now: float) -> bool:
        """Whether the backend is still loading the checkpoint of the job it runs, as far as its swap time tells."""
        running = self.views[name].running
        if running is None or not running.swaps:
            return False
        return now < running.started_at + self._speeds.swap.rate(name, running.checkpoint)

    def expected_s(self, name: str, running: Running) -> float:
        """Seconds the job takes there, its swap included."""
        swap_s = self._speeds.swap.rate(name, running.checkpoint) if running.swaps else 0.0
        if running.upscaler:
            return swap_s + self._speeds.upscale.rate(name, running.upscaler) * running.output_megapixels
        return swap_s + self._speeds.generation.rate(name, running.checkpoint) * running.work

    def _unlink(self, view: BackendView) -> None:
        self._free.discard(view.name)
        if view.usable and view.loaded:
            self._copies[view.loaded].discard(view.name)
            if not self._copies[view.loaded]:
                del self._copies[view.loaded]
        if view.running is not None and view.running.job_id:
            self._where.pop(view.running.job_id, None)
            left = self._running[view.running.tenant] - 1
            if left:
                self._running[view.running.tenant] = left
            else:
                del self._running[view.running.tenant]


def _same_job(before: Running | None, after: Running | None) -> bool:
    return before is not None and after is not None and before.job_id == after.job_id
