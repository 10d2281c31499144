"""What the flow needs of the outside, as protocols; the adapters fulfil them and `wiring` puts the two together.

Every method may raise `StoreUnavailable` where a store is behind it. Times are seconds since the epoch by the clock
of the
store that answers, unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from gateway.domain.jobs import Outcome
from gateway.domain.keys import Caller
from gateway.domain.managed import AdminToken, AuditEntry, Key, Managed, Speed, Thing
from gateway.domain.reports import UsageQuestion, UsageRow
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


# --- managing --------------------------------------------------------------------------------------


class Books(Protocol):
    """What is managed, inside one transaction; whatever is found while writing is locked until the transaction ends."""

    async def find(self, kind: type[Thing], ref: str) -> list[Thing]:
        """All of this kind that `ref` can mean: an id or a name; for keys also a prefix or `tenant/name`."""

    async def all(self, kind: type[Thing]) -> list[Thing]:
        """Everything of this kind, by name."""

    async def keys_of(self, tenant_id: str) -> list[Key]:
        """The tenant's keys, by name."""

    async def add(self, thing: Managed) -> None:
        """Keep something new; NameTaken if its name, id or digest is in use."""

    async def save(self, thing: Thing) -> Thing:
        """Keep the change and answer it with its new version; EditConflict if the kept version is another."""

    async def remove(self, thing: Managed) -> None:
        """Forget it; EditConflict if the kept version is another."""

    async def note(self, entry: AuditEntry) -> None:
        """Write who changed what; kept if and only if the transaction is."""

    async def audit(self, limit: int) -> list[AuditEntry]:
        """The latest `limit` changes, newest first."""

    async def is_secret_known(self, digest: str) -> bool:
        """Whether a key, also one that is revoked or replaced, has or had this SHA-256."""

    async def claim(self, name: str, value: str) -> str:
        """Keep `value` under `name` unless something is kept there; what is kept there now."""


class Bookkeeper(Protocol):
    """Opens transactions on what is managed."""

    def reading(self) -> AbstractAsyncContextManager[Books]:
        """One consistent view; nothing may be written."""

    def writing(self) -> AbstractAsyncContextManager[Books]:
        """One change: all of it is kept when the block ends, nothing when it raises."""


class AdminTokens(Protocol):
    """Credentials of the admin interface."""

    async def find_admin(self, digest: str) -> AdminToken | None:
        """The admin token with this SHA-256, None if there is none or it is revoked."""


class UsageBooks(Protocol):
    """Sums over the ledger."""

    async def usage(self, question: UsageQuestion) -> list[UsageRow]:
        """One row per group, ordered by the groups."""


class SpeedBooks(Protocol):
    """Learned speeds that outlive a process."""

    async def load_speeds(self) -> list[Speed]:
        """All that is known."""

    async def save_speeds(self, speeds: Sequence[Speed], now: float) -> None:
        """Keep these, in place of what was kept for the same backend and name."""


class Announcer(Protocol):
    """Tells every process of the gateway that something durable changed."""

    async def keys_changed(self) -> None:
        """What a key may do may have changed: no process may serve a cached caller any more."""
