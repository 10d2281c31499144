"""The use cases of operators, behind the admin interface and the command line alike.

Every change is one transaction with its audit entry in it, and whatever bears on keys is announced after it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from gateway.domain.backends import Backend
from gateway.domain.forms import changed, check
from gateway.domain.keys import Grants
from gateway.domain.managed import (
    STANDARD_PLAN,
    AuditEntry,
    EditConflict,
    KeptBackend,
    KeptPlan,
    Key,
    Tenant,
    Thing,
    word_for,
)
from gateway.domain.plans import Plan
from gateway.domain.reports import UsageQuestion, UsageRow
from gateway.flow.changes import Author, RandomBytes, add, announce, new_id, note, the
from gateway.flow.credentials import Credentials
from gateway.ports import Announcer, Bookkeeper, Books, UsageBooks

_DRAINING = "draining:"  # before a backend's name: in SQL, so that it outlives Redis and every process
Changes: TypeAlias = Mapping[str, Any] | Callable[[Thing], Mapping[str, Any]]


class Manager:
    """Tenants, plans, backends and usage, as operators see them; `credentials` for keys and admin tokens.

    `random_bytes(n)` must be fit for secrets. Every method may raise StoreUnavailable; those that name something
    UnknownName, those that change something InvalidRequest, NameTaken and EditConflict.
    """

    def __init__(
        self,
        bookkeeper: Bookkeeper,
        usage_books: UsageBooks,
        announcer: Announcer,
        random_bytes: RandomBytes,
    ) -> None:
        self._bookkeeper = bookkeeper
        self._usage_books = usage_books
        self._announcer = announcer
        self._random_bytes = random_bytes
        self.credentials = Credentials(bookkeeper, announcer, random_bytes)

    # --- looking ---------------------------------------------------------------------------------

    async def all_of(self, kind: type[Thing]) -> list[Thing]:
        """Everything of this kind, by name."""
        async with self._bookkeeper.reading() as books:
            return await books.all(kind)

    async def show(self, kind: type[Thing], ref: str) -> Thing:
        """The one that `ref` means: an id or a name; for keys also a prefix or `tenant/name`."""
        async with self._bookkeeper.reading() as books:
            return await the(books, kind, ref)

    async def keys_of(self, tenant: str) -> list[Key]:
        """The keys of a tenant, by name."""
        async with self._bookkeeper.reading() as books:
            return await books.keys_of((await the(books, Tenant, tenant)).id)

    async def audit(self, limit: int = 100) -> list[AuditEntry]:
        """The latest changes, newest first."""
        async with self._bookkeeper.reading() as books:
            return await books.audit(limit)

    async def usage(self, question: UsageQuestion) -> list[UsageRow]:
        """Sums over the ledger; its ids may also be given as names. No grouping is one row of totals."""
        async with self._bookkeeper.reading() as books:
            if question.tenant_id:
                question = replace(question, tenant_id=(await the(books, Tenant, question.tenant_id)).id)
            if question.key_id:
                question = replace(question, key_id=(await the(books, Key, question.key_id)).id)
        return await self._usage_books.usage(question)

    # --- creating --------------------------------------------------------------------------------

    async def create_tenant(
        self, author: Author, name: str, plan: str = STANDARD_PLAN, grants: Grants | None = None
    ) -> Tenant:
        """A new tenant on `plan`, which may use everything unless `grants` says otherwise."""
        tenant = Tenant(new_id("t", self._random_bytes), name, plan, grants or Grants(), created_at=author.now)
        async with self._bookkeeper.writing() as books:
            await the(books, KeptPlan, plan)
            await add(books, author, tenant)
        return tenant

    async def create_plan(self, author: Author, name: str, limits: Mapping[str, Any]) -> KeptPlan:
        """A new plan: the standard one's limits, but for those given by the names of `Plan` and `Caps`."""
        kept = changed(KeptPlan(Plan(name=name), created_at=author.now), limits)
        async with self._bookkeeper.writing() as books:
            await add(books, author, kept)
        return kept

    async def add_backend(self, author: Author, backend: Backend) -> KeptBackend:
        """A new backend in the pool."""
        kept = KeptBackend(backend, created_at=author.now)
        async with self._bookkeeper.writing() as books:
            await add(books, author, kept)
        return kept

    # --- changing --------------------------------------------------------------------------------

    async def change(
        self, author: Author, target: tuple[type[Thing], str], changes: Changes[Thing], version: int | None = None
    ) -> Thing:
        """Set these fields of the one that `target` (kind, name or id) means and answer it as it is now.

        `changes` maps fields to values; where values depend on what is kept, it is a function of that.
        With `version` EditConflict if it is at another one by now; without, the change goes onto whatever is kept.
        """
        kind, ref = target
        async with self._bookkeeper.writing() as books:
            before = await the(books, kind, ref)
            if version is not None and before.version != version:
                raise EditConflict(word_for(kind), before.name, version)
            fields = changes(before) if callable(changes) else changes
            after = changed(before, fields)
            check(after)
            if isinstance(after, Tenant):
                await the(books, KeptPlan, after.plan)
            after = await books.save(after)
            await note(books, author, "set", after, fields)
        if kind is not KeptBackend:
            await announce(self._announcer)
        return after

    async def remember_options(self, author: Author, backend: str, found: Mapping[str, Any]) -> KeptBackend:
        """Keep the values a backend had before the gateway set its own; what was found first is never replaced."""
        async with self._bookkeeper.writing() as books:
            kept = await the(books, KeptBackend, backend)
            new = {name: value for name, value in found.items() if name not in kept.old_options}
            if new:
                kept = await books.save(replace(kept, old_options={**kept.old_options, **new}))
                await note(books, author, "found options", kept, new)
        return kept

    async def remove_backend(self, author: Author, ref: str) -> KeptBackend:
        """Forget a backend and answer it with the old option values that are to be put back there."""
        async with self._bookkeeper.writing() as books:
            kept = await the(books, KeptBackend, ref)
            await books.remove(kept)
            await books.release(_DRAINING + kept.name)
            await note(books, author, "remove", kept, {})
        return kept

    async def draining(self) -> frozenset[str]:
        """The names of the backends that are to get no new work."""
        async with self._bookkeeper.reading() as books:
            return frozenset(name.removeprefix(_DRAINING) for name in await books.claimed(_DRAINING))

    async def drain(self, author: Author, ref: str, declared: Collection[str] = ()) -> None:
        """No new work for that backend, which was added or is one of those `declared`; what runs there ends."""
        async with self._bookkeeper.writing() as books:
            name = await _backend_name(books, ref, declared)
            if _DRAINING + name not in await books.claimed(_DRAINING + name):
                await books.claim(_DRAINING + name, author.who)
                await books.note(AuditEntry(author.now, author.who, "drain", word_for(KeptBackend), name))

    async def resume(self, author: Author, ref: str, declared: Collection[str] = ()) -> None:
        """Work goes to that backend again."""
        async with self._bookkeeper.writing() as books:
            name = await _backend_name(books, ref, declared)
            if await books.release(_DRAINING + name):
                await books.note(AuditEntry(author.now, author.who, "resume", word_for(KeptBackend), name))

    # --- starting --------------------------------------------------------------------------------

    async def deployment_id(self) -> str:
        """The id of this deployment, minted when there is none: the same for everyone who uses this database."""
        async with self._bookkeeper.writing() as books:
            return await books.claim("deployment_id", new_id("d", self._random_bytes))


async def _backend_name(books: Books, ref: str, declared: Collection[str]) -> str:
    return ref if ref in declared else (await the(books, KeptBackend, ref, declared)).name
