"""The use cases of operators, behind the admin interface and the command line alike.

Every change is one transaction with its audit entry in it, and whatever bears on keys is announced after it is kept. A
secret is in what creating and rotating answer and nowhere else.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from gateway.domain.backends import Backend
from gateway.domain.errors import InvalidRequest, StoreUnavailable
from gateway.domain.forms import changed, check, described, plain
from gateway.domain.keys import Grants, digest_of, has_key_form, prefix_of
from gateway.domain.managed import (
    AdminToken,
    AuditEntry,
    EditConflict,
    KeptBackend,
    KeptPlan,
    Key,
    Managed,
    Role,
    Tenant,
    Thing,
    UnknownName,
    word_for,
)
from gateway.domain.overrides import Overrides
from gateway.domain.plans import Plan
from gateway.domain.reports import UsageQuestion, UsageRow
from gateway.ports import Announcer, Bookkeeper, Books, UsageBooks

_SECRET_BYTES = 24  # 192 bits
_ID_BYTES = 9
_FIRST_NAME = "default"
_TOLD_ANYWAY = frozenset({"id", "version", "created_at"})  # an audit entry has its own target and time
_TOKEN_FORM = re.compile(r"[A-Za-z0-9_-]{20,}")


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, and the time of it in seconds since the epoch."""

    who: str
    now: float


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What a new key of `tenant` (id or name) is to be. `secret` "" mints one; a given one must have a key's form."""

    tenant: str
    name: str
    secret: str = field(default="", repr=False)
    expires_at: float | None = None
    grants: Grants = field(default_factory=Grants)
    overrides: Overrides = field(default_factory=Overrides)
    default_model: str = ""
    addresses: tuple[str, ...] = ()
    allows_path: bool = False


@dataclass(frozen=True, slots=True)
class Issued:
    """A key or admin token with its secret, which is shown once and kept nowhere.

    `is_announced` is False when it is kept but running processes could not be told; they see it when their key cache
    ends.
    """

    thing: Key | AdminToken
    secret: str = field(repr=False)
    is_announced: bool = True


@dataclass(frozen=True, slots=True)
class FirstRun:
    """The credentials of a database that was empty, to be printed once."""

    tenant: Tenant
    admin_token: str = field(repr=False)
    key: str = field(repr=False)


class Manager:
    """Tenants, plans, keys, backends, admin tokens and usage, as operators see them.

    `random_bytes(n)` must be fit for secrets. Every method may raise StoreUnavailable; those that name something
    UnknownName, those that change something InvalidRequest, NameTaken and EditConflict.
    """

    def __init__(
        self,
        bookkeeper: Bookkeeper,
        usage_books: UsageBooks,
        announcer: Announcer,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._bookkeeper = bookkeeper
        self._usage_books = usage_books
        self._announcer = announcer
        self._random_bytes = random_bytes

    # --- looking ---------------------------------------------------------------------------------

    async def all_of(self, kind: type[Thing]) -> list[Thing]:
        """Everything of this kind, by name."""
        async with self._bookkeeper.reading() as books:
            return await books.all(kind)

    async def show(self, kind: type[Thing], ref: str) -> Thing:
        """The one that `ref` means: an id or a name; for keys also a prefix or `tenant/name`."""
        async with self._bookkeeper.reading() as books:
            return await _the(books, kind, ref)

    async def keys_of(self, tenant: str) -> list[Key]:
        """The keys of a tenant, by name."""
        async with self._bookkeeper.reading() as books:
            return await books.keys_of((await _the(books, Tenant, tenant)).id)

    async def audit(self, limit: int = 100) -> list[AuditEntry]:
        """The latest changes, newest first."""
        async with self._bookkeeper.reading() as books:
            return await books.audit(limit)

    async def usage(self, question: UsageQuestion) -> list[UsageRow]:
        """Sums over the ledger; its ids may also be given as names. No grouping is one row of totals."""
        async with self._bookkeeper.reading() as books:
            if question.tenant_id:
                question = replace(question, tenant_id=(await _the(books, Tenant, question.tenant_id)).id)
            if question.key_id:
                question = replace(question, key_id=(await _the(books, Key, question.key_id)).id)
        return await self._usage_books.usage(question)

    # --- creating --------------------------------------------------------------------------------

    async def create_tenant(
        self, author: Author, name: str, plan: str = "standard", grants: Grants | None = None
    ) -> Tenant:
        """A new tenant on `plan`, which may use everything unless `grants` says otherwise."""
        tenant = Tenant(self._id("t"), name, plan, grants or Grants(), created_at=author.now)
        async with self._bookkeeper.writing() as books:
            await _the(books, KeptPlan, plan)
            await _add(books, author, tenant)
        return tenant

    async def create_plan(self, author: Author, name: str, limits: Mapping[str, Any]) -> KeptPlan:
        """A new plan: the standard one's limits, but for those given by the names of `Plan` and `Caps`."""
        kept = changed(KeptPlan(Plan(name=name), created_at=author.now), limits)
        async with self._bookkeeper.writing() as books:
            await _add(books, author, kept)
        return kept

    async def add_backend(self, author: Author, backend: Backend) -> KeptBackend:
        """A new backend in the pool."""
        kept = KeptBackend(backend, created_at=author.now)
        async with self._bookkeeper.writing() as books:
            await _add(books, author, kept)
        return kept

    async def create_key(self, author: Author, request: KeyRequest) -> Issued:
        """A new key and its secret."""
        _checked_credentials(request.secret)
        secret = request.secret or self._secret("sk")
        async with self._bookkeeper.writing() as books:
            key = await self._new_key(books, author, request, secret)
        return Issued(key, secret, is_announced=await self._try_to_announce())

    async def create_token(self, author: Author, name: str, role: Role = Role.ADMIN) -> Issued:
        """A new admin token and its secret."""
        secret = self._secret("ga")
        async with self._bookkeeper.writing() as books:
            token = await self._new_token(books, author, name, (secret, role))
        return Issued(token, secret)

    # --- changing --------------------------------------------------------------------------------

    async def change(
        self, author: Author, target: tuple[type[Thing], str], changes: Mapping[str, Any], version: int | None = None
    ) -> Thing:
        """Set these fields of the one that `target` (kind, name or id) means and answer it as it is now.

        With `version` EditConflict if it is at another one by now; without, the change goes onto whatever is kept.
        """
        kind, ref = target
        async with self._bookkeeper.writing() as books:
            before = await _the(books, kind, ref)
            if version is not None and before.version != version:
                raise EditConflict(word_for(kind), before.name, version)
            after = changed(before, changes)
            check(after)
            if isinstance(after, Tenant):
                await _the(books, KeptPlan, after.plan)
            after = await books.save(after)
            await _note(books, author, "set", after, changes)
        if kind is not KeptBackend:
            await self._announce()
        return after

    async def rotate_key(self, author: Author, ref: str, overlap_s: float) -> Issued:
        """A new secret for the same key; the one before opens it for `overlap_s` seconds more, any older no longer."""
        if not 0 <= overlap_s < float("inf"):
            raise InvalidRequest("The overlap must be 0 seconds or more.", field="overlap_s")
        secret = self._secret("sk")
        async with self._bookkeeper.writing() as books:
            key = await _the(books, Key, ref)
            _refuse_ended(key, author.now)
            key = await books.save(
                replace(
                    key,
                    digest=digest_of(secret),
                    prefix=prefix_of(secret),
                    old_digest=key.digest if overlap_s else None,
                    old_prefix=key.prefix if overlap_s else "",
                    old_valid_until=author.now + overlap_s if overlap_s else None,
                )
            )
            await _note(books, author, "rotate", key, {"prefix": key.prefix, "overlap_s": overlap_s})
        return Issued(key, secret, is_announced=await self._try_to_announce())

    async def revoke(self, author: Author, target: tuple[type[Key] | type[AdminToken], str]) -> Key | AdminToken:
        """End a key or an admin token at once and for good; one that is revoked already stays as it is."""
        kind, ref = target
        async with self._bookkeeper.writing() as books:
            found: Key | AdminToken = await _the(books, kind, ref)
            if found.revoked_at is None:
                found = await books.save(replace(found, revoked_at=author.now))
                await _note(books, author, "revoke", found, {})
        # Also when it was revoked before: then the announcement may be what went wrong.
        await self._announce()
        return found

    async def remember_options(self, author: Author, backend: str, found: Mapping[str, Any]) -> KeptBackend:
        """Keep the values a backend had before the gateway set its own; what was found first is never replaced."""
        async with self._bookkeeper.writing() as books:
            kept = await _the(books, KeptBackend, backend)
            new = {name: value for name, value in found.items() if name not in kept.old_options}
            if new:
                kept = await books.save(replace(kept, old_options={**kept.old_options, **new}))
                await _note(books, author, "found options", kept, new)
        return kept

    async def remove_backend(self, author: Author, ref: str) -> KeptBackend:
        """Forget a backend and answer it with the old option values that are to be put back there."""
        async with self._bookkeeper.writing() as books:
            kept = await _the(books, KeptBackend, ref)
            await books.remove(kept)
            await _note(books, author, "remove", kept, {})
        return kept

    # --- starting --------------------------------------------------------------------------------

    async def first_run(self, author: Author, admin_token: str = "", key: str = "") -> FirstRun | None:
        """Give an empty database one tenant, key and admin token: those given, or minted ones. None if it is not empty.

        Of several processes that start at once exactly one gets an answer. A given credential that could not
        be used is InvalidRequest, empty database or not.
        """
        _checked_credentials(key, admin_token)
        token_secret, secret = admin_token or self._secret("ga"), key or self._secret("sk")
        mark = self._id("run")
        async with self._bookkeeper.writing() as books:
            is_ours = await books.claim("first_run", mark) == mark
            is_empty = not await books.all(Tenant) and not await books.all(AdminToken)
            if not is_ours or not is_empty:
                return None
            tenant = Tenant(self._id("t"), _FIRST_NAME, created_at=author.now)
            await _add(books, author, tenant)
            await self._new_key(books, author, KeyRequest(tenant.id, "first"), secret)
            await self._new_token(books, author, "first", (token_secret, Role.ADMIN))
        return FirstRun(tenant, token_secret, secret)

    async def deployment_id(self) -> str:
        """The id of this deployment, minted when there is none: the same for everyone who uses this database."""
        async with self._bookkeeper.writing() as books:
            return await books.claim("deployment_id", self._id("d"))

    # --- helpers ---------------------------------------------------------------------------------

    async def _new_key(self, books: Books, author: Author, request: KeyRequest, secret: str) -> Key:
        tenant = await _the(books, Tenant, request.tenant)
        if await books.is_secret_known(digest_of(secret)):
            raise InvalidRequest("That secret belongs to a key already. Leave it out to get a new one.", field="secret")
        key = Key(
            id=self._id("k"),
            tenant_id=tenant.id,
            name=request.name,
            digest=digest_of(secret),
            prefix=prefix_of(secret),
            created_at=author.now,
            expires_at=request.expires_at,
            grants=request.grants,
            overrides=request.overrides,
            default_model=request.default_model,
            addresses=request.addresses,
            allows_path=request.allows_path,
        )
        await _add(books, author, key)
        return key

    async def _new_token(self, books: Books, author: Author, name: str, secret: tuple[str, Role]) -> AdminToken:
        text, role = secret
        token = AdminToken(self._id("a"), name, digest_of(text), prefix_of(text), role, created_at=author.now)
        await _add(books, author, token)
        return token

    async def _announce(self) -> None:
        try:
            await self._announcer.keys_changed()
        except StoreUnavailable as error:
            raise StoreUnavailable(
                "The change is kept, but running processes could not be told of it: they see it when their key cache"
                " ends. Repeat the command when Redis is back to be sure."
            ) from error

    async def _try_to_announce(self) -> bool:
        """As `_announce`, but says so instead of raising: a secret that is not answered is lost."""
        try:
            await self._announcer.keys_changed()
        except StoreUnavailable:
            return False
        return True

    def _secret(self, kind: str) -> str:
        return f"{kind}-{urlsafe_b64encode(self._random_bytes(_SECRET_BYTES)).decode().rstrip('=')}"

    def _id(self, kind: str) -> str:
        return f"{kind}_{self._random_bytes(_ID_BYTES).hex()}"


async def _the(books: Books, kind: type[Thing], ref: str) -> Thing:
    found = await books.find(kind, ref)
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(sorted(thing.id for thing in found))
        raise InvalidRequest(f'"{ref}" can mean {len(found)} {word_for(kind)}s; say which by its id: {ids}.')
    names = [thing.name for thing in await books.all(kind)]
    if kind is Key:
        owners = {tenant.id: tenant.name for tenant in await books.all(Tenant)}
        names = [f"{owners[key.tenant_id]}/{key.name}" for key in await books.all(Key)]
    raise UnknownName(word_for(kind), ref, get_close_matches(ref, names, n=2, cutoff=0.5))


async def _add(books: Books, author: Author, thing: Managed) -> None:
    check(thing)
    await books.add(thing)
    await _note(books, author, "create", thing, described(thing))


async def _note(books: Books, author: Author, action: str, thing: Managed, detail: Mapping[str, Any]) -> None:
    told = {name: "(changed)" if name == "password" else plain(value) for name, value in detail.items()}
    told = {name: value for name, value in told.items() if name not in _TOLD_ANYWAY}
    target = thing.name if thing.id == thing.name else f"{thing.name} ({thing.id})"
    await books.note(AuditEntry(author.now, author.who, action, word_for(type(thing)), target, told))


def _checked_credentials(key: str = "", admin_token: str = "") -> None:
    """Refuse given credentials that could not be used; "" is none given."""
    if key and not has_key_form(key):
        raise InvalidRequest("A key must be sk- and at least 17 letters, digits, _ or -.", field="key")
    if admin_token and not _TOKEN_FORM.fullmatch(admin_token):
        raise InvalidRequest("An admin token must be at least 20 letters, digits, _ or -.", field="admin_token")
    if key and key == admin_token:
        raise InvalidRequest("The admin token must not be the key as well.", field="admin_token")


def _refuse_ended(key: Key, now: float) -> None:
    if key.revoked_at is not None:
        raise InvalidRequest(f'The key "{key.name}" is revoked for good. Create a new one.')
    if key.expires_at is not None and key.expires_at <= now:
        raise InvalidRequest(f'The key "{key.name}" has expired. Set a later expiry first, then rotate it.')
