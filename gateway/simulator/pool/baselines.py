"""What others do, for comparison: model-blind balancers, a FIFO and the simplest affinity.

None of them looks at tenants. Free GPUs are looked at faster first, then in the pool's order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from gateway.simulator.pool.work import Freed, Gpu, Job, Load, Start


class _Committing:
    """A balancer that gives each job to a GPU on arrival; every GPU works through its own queue in order."""

    name = ""
    swaps_are_free = False

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        self._gpus = gpus
        self._queues: list[deque[Job]] = [deque() for _ in gpus]
        self._running = [False for _ in gpus]

    def happened(self, freed: Sequence[Freed], arrived: Sequence[Job], now: float) -> Sequence[Start | Load]:
        """Commit what arrived, then start the head of every idle GPU's queue."""
        for event in freed:
            self._running[event.gpu] = False
        for job in arrived:
            able = [i for i, gpu in enumerate(self._gpus) if job.model in gpu.models]
            self._queues[self._choose(able)].append(job)
        starts: list[Start | Load] = []
        for i, queue in enumerate(self._queues):
            if queue and not self._running[i]:
                self._running[i] = True
                starts.append(Start(queue.popleft(), i))
        return starts

    def wake_at(self, now: float) -> float | None:
        """Never: a freed GPU is always an event."""
        return None

    def _choose(self, able: list[int]) -> int:
        raise NotImplementedError


class RoundRobin(_Committing):
    """The next of the GPUs that have the model, whatever they are doing."""

    name = "round-robin"

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        super().__init__(gpus)
        self._turn = 0

    def _choose(self, able: list[int]) -> int:
        self._turn += 1
        return able[(self._turn - 1) % len(able)]


class LeastConnections(_Committing):
    """The first of the GPUs that have the model and the fewest jobs, running and queued."""

    name = "least-connections"

    def _choose(self, able: list[int]) -> int:
        return min(able, key=lambda i: len(self._queues[i]) + self._running[i])


class Fifo:
    """The oldest job that can run; a free GPU that has its checkpoint loaded, else the fastest free one."""

    name = "fifo"
    swaps_are_free = False

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        self._gpus = gpus
        self._loaded = ["" for _ in gpus]
        self._free = set(range(len(gpus)))
        self._waiting: dict[str, Job] = {}

    def happened(self, freed: Sequence[Freed], arrived: Sequence[Job], now: float) -> Sequence[Start | Load]:
        """Start jobs until no free GPU can run any that waits."""
        self._free.update(event.gpu for event in freed)
        self._waiting.update({job.job_id: job for job in arrived})
        starts: list[Start | Load] = []
        while self._free and (start := self._next()) is not None:
            del self._waiting[start.job.job_id]
            self._free.discard(start.gpu)
            self._loaded[start.gpu] = start.job.model
            starts.append(start)
        return starts

    def wake_at(self, now: float) -> float | None:
        """Never: whatever can start has started."""
        return None

    def _next(self) -> Start | None:
        return self._oldest_runnable(self._free_in_order())

    def _free_in_order(self) -> list[int]:
        return sorted(self._free, key=lambda i: (self._gpus[i].seconds_per_megapixel_step, i))

    def _oldest_runnable(self, free: list[int]) -> Start | None:
        for job in self._waiting.values():
            able = [i for i in free if job.model in self._gpus[i].models]
            if able:
                return Start(job, next((i for i in able if self._loaded[i] == job.model), able[0]))
        return None


class FreeSwaps(Fifo):
    """FIFO on a pool whose swaps cost nothing: the bound no scheduler without reordering can pass."""

    name = "free-swaps"
    swaps_are_free = True


class Affinity(Fifo):
    """The oldest job whose checkpoint is loaded on a free GPU; without one, as FIFO."""

    name = "affinity"

    def _next(self) -> Start | None:
        free = self._free_in_order()
        ready = {self._loaded[i]: i for i in reversed(free)}
        for job in self._waiting.values():
            if job.model in ready:
                return Start(job, ready[job.model])
        return self._oldest_runnable(free)
