"""What the server says it is doing: `/progress`, `/status` and `/internal/progress`, with their lies.

A stage gets a new id every time (loading, sampling and decoding of one job differ), nothing names the request, `queued`
never counts API requests, a job that fails inside leaves its last stage behind, and an interrupt of an idle server
shows as `interrupted` until the next job begins.
"""

from __future__ import annotations

import secrets
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.simulator.sdnext.clock import LoopClock


_HISTORY = 10_000  # entries kept; the real server keeps all


class JobState:
    """The one global state of the server. All seconds are real ones."""

    def __init__(self, clock: LoopClock) -> None:
        self._clock = clock
        self._born: float | None = None
        self._since = 0.0
        self._previews = 0
        self.history: deque[dict[str, Any]] = deque(maxlen=_HISTORY)
        self.task = ""
        self.id = ""
        self.timestamp = ""
        self.total = 0
        self.steps = 0
        self.step_s = 0.0
        self.is_interrupted = False
        self.is_skipped = False

    def begin(self, task: str, *, steps: int = 0, step_s: float = 0.0) -> str:
        """Enter a stage under a new id, which is returned."""
        self._leave()
        self.task, self.steps, self.step_s = task, steps, step_s
        self.id = secrets.token_hex(8)[:15]
        self.timestamp = f"{self._clock.wall():%Y%m%d%H%M%S}"
        self.total += 1
        self._previews = 0
        self._record("begin")
        return self.id

    def begin_job(self, task: str) -> None:
        """Enter the first stage of a job: forgets interrupts and skips that came before it."""
        self.is_interrupted = self.is_skipped = False
        self.begin(task)

    @property
    def stage(self) -> tuple[str, str, int, float, float]:
        """The stage it is in, to be put back later: task, id, steps, seconds a step, and since when."""
        return self.task, self.id, self.steps, self.step_s, self._since

    @stage.setter
    def stage(self, stage: tuple[str, str, int, float, float]) -> None:
        self.task, self.id, self.steps, self.step_s, self._since = stage

    def end(self) -> None:
        """Nothing runs any more. A failed job never gets here, which is why `/status` lies afterwards."""
        self._leave()
        self.task, self.id, self.steps, self.step_s = "", "", 0, 0.0

    @property
    def step(self) -> int:
        """Sampling steps done so far, told from the time that passed."""
        if self.steps <= 0:
            return 0
        if self.step_s <= 0:
            return self.steps // 2  # an instant stage that a test holds is seen in its middle
        return min(self.steps, int((self._clock.now() - self._since) / self.step_s))

    @property
    def fraction(self) -> float:
        """How far the stage is, 0 to 1, two digits as the server rounds."""
        return round(self.step / self.steps, 2) if self.steps > 0 else 0.0

    def progress(self, current_image: str | None) -> dict[str, Any]:
        """The body of `/progress`."""
        return {
            "id": self.id,
            "progress": self.fraction,
            "eta_relative": self._eta() or 0.0,
            "state": {
                "skipped": self.is_skipped,
                "interrupted": self.is_interrupted,
                "job": self.task,
                "job_count": 1 if self.task else 0,
                "job_timestamp": self.timestamp,
                "job_no": 0,
                "sampling_step": self.step,
                "sampling_steps": self.steps,
            },
            "current_image": current_image,
            "textinfo": None,
        }

    def status(self) -> dict[str, Any]:
        """The body of `/status`. `queued` counts UI tasks only, so it is always 0 here."""
        return {
            "status": self._word(),
            "task": self.task,
            "timestamp": self.timestamp if self.task else None,
            "current": "",
            "id": self.id,
            "job": 0,
            "jobs": 1 if self.task else 0,
            "total": self.total,
            "step": self.step,
            "steps": self.steps,
            "queued": 0,
            "uptime": int(self._uptime()),
            "elapsed": round(self._elapsed(), 2),
            "eta": self._eta(),
            "progress": self.fraction,
        }

    def internal(self) -> dict[str, Any]:
        """The body of `/internal/progress`."""
        is_active = bool(self.task)
        self._previews += 1 if self.steps else 0
        return {
            "job": self.task,
            "textinfo": None if is_active else "Waiting...",
            "active": is_active,
            "queued": False,
            "paused": False,
            "completed": False,
            "debug": False,
            "step": self.step,
            "steps": max(1, self.steps),
            "batch_no": 0,
            "batch_count": 0,
            "progress": self.fraction,
            "eta": self._eta(),
            "live_preview": None,
            "id_live_preview": self._previews,
        }

    def _word(self) -> str:
        if self.is_interrupted:
            return "interrupted"
        if self.is_skipped:
            return "skipped"
        return "running" if self.task else "idle"

    def _eta(self) -> float | None:
        fraction = self.step / self.steps if self.steps > 0 else 0.0
        if fraction <= 0:
            return None
        elapsed = self._elapsed()
        return round(elapsed / fraction - elapsed, 2)

    def saved(self, file: str) -> None:
        """A picture went to disk; its path shows in everybody's `/history`."""
        self._record("end", task="save", outputs=[file])

    def _leave(self) -> None:
        if self.task:
            self._record("end", duration=round(self._elapsed(), 3))
        self._touch()

    def _record(
        self, op: str, *, task: str = "", duration: float | None = None, outputs: list[str] | None = None
    ) -> None:
        entry = {"id": self.id, "job": task or self.task.lower(), "op": op, "timestamp": self._clock.wall().timestamp()}
        self.history.append({**entry, "duration": duration, "outputs": outputs or []})

    def _touch(self) -> None:
        self._uptime()
        self._since = self._clock.now()

    def _elapsed(self) -> float:
        self._uptime()
        return self._clock.now() - self._since

    def _uptime(self) -> float:
        if self._born is None:
            self._born = self._since = self._clock.now()
        return self._clock.now() - self._born
