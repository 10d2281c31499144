"""How far a caller's own job is: read from what a backend says of itself, and told in the forms that clients read.

A backend's progress belongs to a job only once it was seen to move: what SD.Next leaves standing after a failure stands
still for ever (observed), and until a job has begun there the state is still that of somebody else's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.domain.masking import masked

JUST_BEGUN = 0.01
ALMOST_DONE = 0.99
MOST_PREVIEW_CHARACTERS = 600_000
_MOST_WORD = 60
_LARGEST = 1e15


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of a running job: `progress` from 0.01 to 0.99, `eta_s` in seconds, steps of one picture."""

    progress: float = JUST_BEGUN
    eta_s: float = 0.0
    job: str = "starting"
    job_no: int = 0
    job_count: int = 1
    step: int = 0
    steps: int = 0
    is_skipped: bool = False
    is_interrupted: bool = False

    def to_bytes(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Shown:
        """What `to_bytes` wrote; of nothing, what is shown of a job that has just begun."""
        return msgspec.json.decode(raw, type=cls) if raw else cls()


class Follower:
    """Follows one job on one backend through that backend's `/progress`."""

    def __init__(self) -> None:
        self._first: tuple[object, ...] | None = None
        self._first_step: int | None = None
        self._is_ours = False
        self._has_stepped = False

    def saw(self, answer: object) -> tuple[Shown, str]:
        """What to show after this answer, and the preview in it as base64, "" while it may be another job's."""
        state = answer.get("state") if isinstance(answer, dict) else None
        if not isinstance(answer, dict) or not isinstance(state, dict):
            return Shown(), ""
        if not state.get("job") and not state.get("job_count"):
            return self._idle(), ""
        step = _whole(state.get("sampling_step"))
        self._look(answer, step)
        if not self._is_ours:
            return Shown(), ""
        return _shown(answer, state, step), self._preview(answer)

    def _idle(self) -> Shown:
        """It says that nothing runs: it has not begun, or it encodes the pictures already (observed)."""
        if self._has_stepped:
            return Shown(progress=ALMOST_DONE, job="encoding")
        self._is_ours = True  # whatever moves from now on is this job
        return Shown()

    def _look(self, answer: dict[str, Any], step: int) -> None:
        seen = (str(answer.get("id")), step, str(answer.get("progress")))
        if self._first is None:
            self._first = seen
        self._is_ours = self._is_ours or seen != self._first
        if self._is_ours:
            if self._first_step is None:
                self._first_step = step
            self._has_stepped = self._has_stepped or step != self._first_step

    def _preview(self, answer: dict[str, Any]) -> str:
        image = answer.get("current_image")
        fits = isinstance(image, str) and len(image) <= MOST_PREVIEW_CHARACTERS
        return str(image) if fits and self._has_stepped else ""


def _shown(answer: dict[str, Any], state: dict[str, Any], step: int) -> Shown:
    return Shown(
        progress=min(max(_number(answer.get("progress")), JUST_BEGUN), ALMOST_DONE),
        eta_s=max(_number(answer.get("eta_relative")), 0.0),
        job=masked(str(state.get("job") or "running"), _MOST_WORD),
        job_no=_whole(state.get("job_no")),
        job_count=max(_whole(state.get("job_count")), 1),
        step=step,
        steps=_whole(state.get("sampling_steps")),
        is_skipped=state.get("skipped") is True,
        is_interrupted=state.get("interrupted") is True,
    )


def _number(value: object) -> float:
    # A whole number may have 4,000 digits, which no float holds.
    is_number = isinstance(value, int | float) and -_LARGEST <= value <= _LARGEST
    return float(value) if is_number else 0.0  # type: ignore[arg-type]


def _whole(value: object) -> int:
    return max(int(_number(value)), 0)


@dataclass(frozen=True, slots=True)
class OwnProgress:
    """One of a caller's jobs, or none (`task_id` ""). `position` of `waiting`: 0 for a job that runs; `since`: seconds
    since the epoch when it began to run or to wait; `queued`: how many jobs of this caller wait; `starts_at`: when a
    waiting job should begin to run, 0.0 where nobody can tell.
    """

    task_id: str = ""
    position: int = 0
    waiting: int = 0
    queued: int = 0
    since: float = 0.0
    at: float = 0.0
    shown: Shown = Shown()
    preview: str = ""
    starts_at: float = 0.0

    @property
    def eta_s(self) -> float:
        """Seconds until a waiting job should start, or a running one should end; 0.0 where nobody can tell."""
        return max(0.0, self.starts_at - self.at) if self.position else self.shown.eta_s

    @property
    def is_idle(self) -> bool:
        """Whether the caller has no job."""
        return not self.task_id

    @property
    def text(self) -> str | None:
        """The sentence for people, None when there is nothing to say."""
        if self.is_idle:
            return None
        if not self.position:
            return self.shown.job
        place = f"Queued {self.position} of {max(self.waiting, self.position)}"
        return f"{place}, starts in about {_rounded(self.eta_s)} s" if self.starts_at else place


def _rounded(seconds: float) -> int:
    """As exact as it is known: to five seconds from twenty on, and never "in 0 s"."""
    return max(1, round(seconds)) if seconds < 20 else 5 * round(seconds / 5)  # noqa: PLR2004


def as_progress(own: OwnProgress) -> dict[str, Any]:
    """The answer to `GET /sdapi/v1/progress`: A1111's form with every field, and SD.Next's `id`."""
    shown = own.shown
    state = {
        "skipped": shown.is_skipped,
        "interrupted": shown.is_interrupted,
        "stopping_generation": False,
        "job": "" if own.is_idle else "queued" if own.position else shown.job,
        "job_count": 0 if own.is_idle else shown.job_count,
        "job_timestamp": _stamp(own.since),
        "job_no": shown.job_no,
        "sampling_step": shown.step,
        "sampling_steps": shown.steps,
    }
    return {
        "id": own.task_id,
        "progress": 0.0 if own.is_idle else shown.progress,
        "eta_relative": round(own.eta_s, 1),
        "state": state,
        "current_image": own.preview or None,
        "textinfo": own.text,
    }


def as_internal_progress(own: OwnProgress, preview_id: int) -> dict[str, Any]:
    """The answer to `POST /internal/progress`, A1111's and SD.Next's fields together. `preview_id`: the one it has."""
    is_active = not own.is_idle and not own.position
    return {
        "active": is_active,
        "queued": own.position > 0,
        "paused": False,
        "completed": False,
        "debug": False,
        "textinfo": own.text,
        "job": own.shown.job if is_active else "",
        "progress": 0.0 if own.is_idle else own.shown.progress,
        "step": own.shown.step,
        "steps": own.shown.steps,
        "eta": round(own.eta_s, 1),
        "live_preview": f"data:image/jpeg;base64,{own.preview}" if own.preview else None,
        "id_live_preview": preview_id + 1 if own.preview else preview_id,
    }


def as_status(own: OwnProgress) -> dict[str, Any]:
    """The answer to `GET /sdapi/v1/status`, SD.Next's form; `queued` is how many of the caller's jobs wait."""
    is_active = not own.is_idle and not own.position
    shown = own.shown
    return {
        "status": "running" if is_active else "idle" if own.is_idle else "queued",
        "task": "" if own.is_idle else shown.job,
        "timestamp": None if own.is_idle else _stamp(own.since),
        "current": own.text or "",
        "id": own.task_id,
        "job": shown.job_no,
        "jobs": 0 if own.is_idle else shown.job_count,
        "total": 0,
        "step": shown.step,
        "steps": shown.steps,
        "queued": own.queued,
        "uptime": 0,
        "elapsed": 0.0 if own.is_idle else round(max(own.at - own.since, 0.0), 2),
        "eta": shown.eta_s if is_active else None,
        "progress": None if own.is_idle else shown.progress,
    }


def _stamp(at: float) -> str:
    """Seconds since the epoch as YYYYMMDDhhmmss, UTC; "0" for never."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%d%H%M%S") if at else "0"
