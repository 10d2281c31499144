"""What the flow needs of the outside, as protocols; the adapters fulfil them and `wiring` puts the two together.

Every method may raise `StoreUnavailable` where a store is behind it. Times are seconds since the epoch by the clock
of the
store that answers, unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.domain.jobs import Outcome
from gateway.domain.keys import Caller
from gateway.domain.usage import Measure, Record, Window

# --- durable state -------------------------------------------------------------------------------


class KeyStore(Protocol):
    """Keys with their tenants, plans, grants and overrides."""

    async def find_caller(self, digest: str) -> Caller | None:
        """The caller whose key has this SHA-256, None if there is none or it is revoked. Expiry is the flow's to
        check."""


class Ledger(Protocol):
    """Closed jobs."""

    async def insert(self, records: Sequence[Record]) -> None:
        """Keep each record once: an id already kept is left alone, but for one kept as `lost`, which is corrected."""

    async def used(self, tenant_id: str, measure: Measure, window: Window, since: float) -> float:
        """What the tenant's jobs that entered at or after `since` used of this measure."""


# --- hot state -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quota:
    """One quota that a job draws on: at most `limit` a window, of which this job reserves `amount`."""

    measure: Measure
    window: Window
    limit: float
    amount: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A job that asks to be admitted. `operation_id` makes a repeated entry harmless.

    `runnable_on` in order of preference; `static` is the ledger's part that is known now, as JSON; `ticket` what the
    scheduler needs, as JSON; `epoch` the revocation epoch under which the caller was looked up.
    """

    operation_id: str
    job_id: str
    tenant_id: str
    key_id: str
    epoch: str
    checkpoint: str
    runnable_on: tuple[str, ...]
    requests_per_minute: float
    burst: int
    max_concurrency: int
    max_queued: int
    static: bytes = b"{}"
    ticket: bytes = b"{}"
    quotas: tuple[Quota, ...] = ()
    seeds: Mapping[tuple[Measure, Window], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entered:
    """What entering gave: admitted and running on `backend`, or admitted and waiting (`backend` "")."""

    now: float
    backend: str
    loaded_before: str
    remaining: int
    reset_s: float


@dataclass(frozen=True, slots=True)
class EpochChanged:
    """Keys changed since the caller was looked up: look again and enter anew. Nothing was taken."""

    epoch: str


@dataclass(frozen=True, slots=True)
class SeedsNeeded:
    """These quota windows are not counted yet; enter anew with what the ledger says. Nothing was taken."""

    windows: tuple[tuple[Measure, Window, float], ...]


@dataclass(frozen=True, slots=True)
class Leaving:
    """A job that ends. `loaded` is the backend's checkpoint afterwards, None to keep what is known, "" for none.

    `final` is the ledger's part that is known now, as JSON; `images` and `gpu_seconds` are what counts against quotas.
    """

    operation_id: str
    job_id: str
    outcome: Outcome
    final: bytes = b"{}"
    loaded: str | None = None
    images: int = 0
    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat brings back. `held` is None while the store and the process agree on how many jobs are held."""

    now: float
    generation: str
    epoch: str
    catalogue_version: str
    held: frozenset[str] | None
    reaped: int
