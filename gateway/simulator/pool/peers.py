"""Two peers' placement rules, written from descriptions of what they do, reduced to what matters for a pool of GPUs.

Neither looks at who asked, at what a job costs, or at whether the evicted checkpoint is still wanted. Deadlines and
refusals are left out, so that the latencies of all policies are over the same jobs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from gateway.simulator.pool.work import Freed, Gpu, Job, Load, Start


class _Queueing:
    """Keeps, for each GPU, the loaded checkpoint, the jobs given to it and whether it runs; starts heads of queues."""

    name = ""
    swaps_are_free = False

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        self._gpus = gpus
        self._loaded = ["" for _ in gpus]
        self._queues: list[deque[Job]] = [deque() for _ in gpus]
        self._running = [False for _ in gpus]
        self._released_at = [float("-inf") for _ in gpus]
        self._waiting: dict[str, Job] = {}

    def _note(self, freed: Sequence[Freed], arrived: Sequence[Job], now: float) -> None:
        for event in freed:
            self._running[event.gpu] = False
            self._released_at[event.gpu] = now
        self._waiting.update({job.job_id: job for job in arrived})

    def _usage(self, gpu: int) -> int:
        return len(self._queues[gpu]) + self._running[gpu]

    def _give(self, job: Job, gpu: int) -> None:
        del self._waiting[job.job_id]
        self._queues[gpu].append(job)

    def _heads(self) -> list[Start | Load]:
        starts: list[Start | Load] = []
        for i, queue in enumerate(self._queues):
            if queue and not self._running[i]:
                self._running[i] = True
                starts.append(Start(queue.popleft(), i))
        return starts


class SwarmUI(_Queueing):
    """SwarmUI (2026-08): a loaded model is claimed at once by whoever asks; loads go to the model with most pressure.

    A GPU takes one job and two queued ones (OverQueue). Pressure is 10 x requests + seconds since the first; a load
    needs a single candidate or a pressure older than 1.5 s, one load per model at a time; the GPU is the least used of
    those without the model, then the longest released, and takes nothing until its queue is empty and the model loaded.
    """

    name = "swarmui"
    depth = 3
    patience_s = 1.5

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        super().__init__(gpus)
        self._reserved: dict[int, str] = {}
        self._loading: set[int] = set()
        self._wake: float | None = None

    def happened(self, freed: Sequence[Freed], arrived: Sequence[Job], now: float) -> Sequence[Start | Load]:
        """Claim for every waiting job whose model is loaded, then load for the highest pressure while a GPU is left."""
        self._note(freed, arrived, now)
        for event in freed:
            if event.gpu in self._loading:
                self._loading.discard(event.gpu)
                del self._reserved[event.gpu]
        for job in list(self._waiting.values()):
            self._claim(job)
        self._wake = None
        while self._reserve_for_highest_pressure(now):
            pass
        return [*self._heads(), *self._begin_loads()]

    def wake_at(self, now: float) -> float | None:
        """When a pressure becomes old enough to load for."""
        return self._wake

    def _claim(self, job: Job) -> None:
        able = [i for i in self._open_for(job.model) if self._loaded[i] == job.model]
        if able:
            self._give(job, min(able, key=self._usage))

    def _open_for(self, model: str) -> list[int]:
        return [
            i
            for i, gpu in enumerate(self._gpus)
            if model in gpu.models and i not in self._reserved and self._usage(i) < self.depth
        ]

    def _reserve_for_highest_pressure(self, now: float) -> bool:
        pressure: dict[str, list[float]] = {}
        for job in self._waiting.values():
            pressure.setdefault(job.model, []).append(job.arrived_at)
        ranked = sorted(pressure, key=lambda m: (-(10 * len(pressure[m]) + now - pressure[m][0]), m))
        for model in ranked:
            loaders = [i for i in self._open_for(model) if self._loaded[i] != model]
            if model in self._reserved.values() or not loaders:
                continue
            ready_at = pressure[model][0] + self.patience_s
            if len(loaders) > 1 and now < ready_at:
                self._wake = ready_at if self._wake is None else min(self._wake, ready_at)
                continue
            self._reserved[min(loaders, key=lambda i: (self._usage(i), self._released_at[i], i))] = model
            return True
        return False

    def _begin_loads(self) -> list[Start | Load]:
        loads: list[Start | Load] = []
        for i, model in self._reserved.items():
            if i not in self._loading and self._usage(i) == 0:
                self._loading.add(i)
                self._running[i] = True
                self._loaded[i] = model
                loads.append(Load(model, i))
        return loads


class LlamaSwap(_Queueing):
    """llama-swap's order: join a loaded or loading model (at most 10 at once a GPU), else an idle GPU swaps, else wait.

    A busy GPU is never taken from its model: as long as requests for it overlap, others wait for another GPU.
    """

    name = "llama-swap"
    depth = 10

    def happened(self, freed: Sequence[Freed], arrived: Sequence[Job], now: float) -> Sequence[Start | Load]:
        """Oldest first: each waiting job joins, swaps on an idle GPU, or goes on waiting."""
        self._note(freed, arrived, now)
        for job in list(self._waiting.values()):
            able = [i for i, gpu in enumerate(self._gpus) if job.model in gpu.models]
            joinable = [i for i in able if self._loaded[i] == job.model and self._usage(i) < self.depth]
            idle = [i for i in able if self._usage(i) == 0 and self._loaded[i] != job.model]
            if joinable:
                self._give(job, min(joinable, key=self._usage))
            elif idle:
                gpu = min(idle, key=lambda i: (self._released_at[i], i))
                self._loaded[gpu] = job.model
                self._give(job, gpu)
        return self._heads()

    def wake_at(self, now: float) -> float | None:
        """Never: whatever can move has moved."""
        return None
