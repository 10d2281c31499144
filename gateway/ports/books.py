"""Durable state: keys, what is managed, the ledger. Every method may raise StoreUnavailable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gateway.domain.keys import Caller
from gateway.domain.managed import AdminToken, AuditEntry, Key, Managed, Speed, Thing
from gateway.domain.reconciliation import Count
from gateway.domain.reports import UsageQuestion, UsageRow
from gateway.domain.usage import Measure, Record, Window


class KeyStore(Protocol):
    """Keys with their tenants, plans, grants and overrides."""

    async def find_caller(self, digest: str) -> Caller | None:
        """The caller whose key has this SHA-256, None if there is none; the flow checks expiry and revocation."""

    async def find_digests(self) -> frozenset[str]:
        """The SHA-256 of every key that is not revoked."""


class Ledger(Protocol):
    """Closed jobs."""

    async def insert(self, records: Sequence[Record]) -> Mapping[str, str]:
        """Keep each record once: an id already kept is left alone, but for one kept as `lost`, which is corrected.

        Gives those that can never be kept, by job, with the reason; the others are kept all the same.
        """

    async def used(self, tenant_id: str, measure: Measure, window: Window, since: float) -> float:
        """What the tenant's jobs that entered at or after `since` used of this measure."""

    async def note_count(self, count: Count) -> None:
        """Keep how many jobs were admitted since then, in place of what was kept for the same beginning."""


class RecordReader(Protocol):
    """Single records."""

    async def find(self, job_id: str) -> Record | None:
        """The job's record, None while there is none."""


class LedgerCounts(Protocol):
    """How many records there are."""

    async def counts(self) -> list[Count]:
        """Every count that was noted."""

    async def recorded(self, since: float, until: float) -> int:
        """How many records are, or were until they were pruned, of jobs that entered in [`since`, `until`]; `since` is
        the beginning of a count.
        """

    async def recorded_of(self, job_ids: Sequence[str]) -> int:
        """How many of these jobs have a record."""


class Prunable(Protocol):
    """What grows for ever unless somebody forgets it. Times in seconds since the epoch."""

    async def old_records(self, before: float) -> int:
        """How many records are of jobs that entered before then."""

    async def old_entries(self, before: float) -> int:
        """How many audit entries were written before then."""

    async def forget_records(self, before: float, at_most: int) -> int:
        """Delete some of them, and keep how many; 0 when there are no more."""

    async def forget_entries(self, before: float, at_most: int) -> int:
        """Delete some of them; 0 when there are no more."""


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

    async def claimed(self, prefix: str) -> Mapping[str, str]:
        """Every value that is kept under a name with this beginning."""

    async def release(self, name: str) -> bool:
        """Forget what is kept under `name`; whether there was anything."""


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
    """Tells every process that keys, grants, plans or overrides have changed."""

    async def keys_changed(self) -> None:
        """Begin a new revocation epoch: every cached caller is looked up anew before its next job."""
