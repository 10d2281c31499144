"""Hot state of one key: its virtual options, and what its own jobs do. Times are seconds by the store's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from gateway.ports.rates import Rate, RateState

if TYPE_CHECKING:  # a command that looks at tenants needs no scheduler
    from gateway.domain.scheduling import Prospect


@dataclass(frozen=True, slots=True)
class OptionChange:
    """Options to keep, and to forget. `remember` are kept only while the key has few remembered ones.

    `unless_shown` is a model's name that cannot be found: it is ignored if it is the one kept now, else nothing is
    changed at all.
    """

    keep: Mapping[str, Any]
    remember: Mapping[str, Any]
    forget: frozenset[str] = frozenset()
    unless_shown: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a change: the names that were remembered; `is_refused` when nothing was changed."""

    remembered: frozenset[str] = frozenset()
    is_refused: bool = False


@dataclass(frozen=True, slots=True)
class Posted:
    """What a key has posted, name -> value. `version` is another one after each change, "" while nothing is kept."""

    values: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""


class OptionStore(Protocol):
    """Each key's virtual options. One round trip each; may raise StoreUnavailable."""

    async def options(self, key_id: str) -> Posted:
        """What the key has posted."""

    async def change_options(self, key_id: str, change: OptionChange) -> Kept:
        """Change them, all at once."""


@dataclass(frozen=True, slots=True)
class OwnJob:
    """An outstanding job of one key. `position` is its place among all that wait (1 is next), 0 while it runs.

    `foretold` is what the dispatcher last said of a waiting job. `process` holds the job; `shown` is what that process
    last published of its progress, as JSON, b"" for nothing yet.
    """

    job_id: str
    task_id: str
    process: str
    entered_at: float
    started_at: float
    position: int
    shown: bytes = b""
    foretold: Prospect | None = None

    @property
    def is_running(self) -> bool:
        """Whether it has a backend."""
        return self.position == 0


@dataclass(frozen=True, slots=True)
class OwnJobs:
    """A key's outstanding jobs, oldest first; `waiting` is how many jobs of all keys wait."""

    jobs: tuple[OwnJob, ...]
    waiting: int
    at: float


@dataclass(frozen=True, slots=True)
class Look:
    """What is asked about a key's jobs. `with_preview`: also the picture as far as it is.

    `wish` is "" or `interrupt` or `skip`, for the job that `task_id` names (its own id, or the one its caller gave it),
    or else the oldest running, or else the oldest waiting one.
    """

    key_id: str
    with_preview: bool = False
    wish: str = ""
    task_id: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A message to the process that holds a job: somebody looks at it, in `process`."""

    job_id: str
    process: str
    with_preview: bool


@dataclass(frozen=True, slots=True)
class Wished:
    """A message to the process that holds a job: its caller wants it interrupted or skipped."""

    job_id: str
    wish: str


@dataclass(frozen=True, slots=True)
class Preview:
    """A message to a process where somebody looks at a job that another one holds: its picture so far, base64."""

    job_id: str
    image: str


@dataclass(frozen=True, slots=True)
class Expectation:
    """What one more call would meet: seconds until it starts, None where nobody can tell; what is left of its rate."""

    wait_s: float | None
    rate: RateState


class OwnJobStore(Protocol):
    """What a key's jobs do, over all processes. One round trip each; may raise StoreUnavailable."""

    async def look_at(self, look: Look) -> OwnJobs:
        """The key's jobs; the processes that hold them are told that somebody looks, at most once a second each."""

    async def expect(self, tenant_id: str, checkpoint: str, rate: Rate) -> Expectation:
        """What one more call of this tenant would meet now; nothing is taken."""

    async def show(self, job_id: str, shown: bytes, preview: str, watchers: frozenset[str]) -> None:
        """Publish a running job's progress; the preview goes to the processes that watch, and is kept nowhere."""
