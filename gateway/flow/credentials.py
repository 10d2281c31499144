"""Keys and admin tokens: how they come to be, change their secrets and end; and the first ones of an empty database.

A secret is in what these use cases answer and nowhere else: only its SHA-256 and its first characters are kept.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import TypeVar

from gateway.domain.errors import InvalidRequest, StoreUnavailable
from gateway.domain.keys import Grants, digest_of, has_key_form, prefix_of
from gateway.domain.managed import STANDARD_PLAN, AdminToken, KeptPlan, Key, Role, Tenant
from gateway.domain.overrides import Overrides
from gateway.flow.changes import Author, RandomBytes, add, announce, new_id, note, the
from gateway.ports import Announcer, Bookkeeper, Books

Secret = TypeVar("Secret", Key, AdminToken)
_SECRET_BYTES = 24  # 192 bits
_FIRST_NAME = "default"
_TOKEN_FORM = re.compile(r"[A-Za-z0-9_-]{20,}")


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
    """The credentials of a first start, to be printed once; no tenant where a command had made the given key before."""

    tenant: Tenant | None
    admin_token: str = field(repr=False)
    key: str = field(repr=False)


class Credentials:
    """Keys and admin tokens, as operators see them. Raises what `Manager` raises."""

    def __init__(self, bookkeeper: Bookkeeper, announcer: Announcer, random_bytes: RandomBytes) -> None:
        self._bookkeeper = bookkeeper
        self._announcer = announcer
        self._random_bytes = random_bytes

    async def create_key(self, author: Author, request: KeyRequest) -> Issued:
        """A new key and its secret."""
        _checked_credentials(request.secret)
        secret = request.secret or self._secret("sk")
        async with self._bookkeeper.writing() as books:
            key = await self._new_key(books, author, request, secret)
        return Issued(key, secret, is_announced=await self._try_to_announce())

    async def ensure_key(self, author: Author, request: KeyRequest) -> Key:
        """The tenant's key of that name, with the request's secret, which must be given; both are made where missing.

        For keys that a configuration names: repeating it, also from several processes at once, changes nothing. Of an
        existing key only the secret and the grants are set; a revoked one stays revoked.
        """
        _checked_credentials(request.secret or "none")
        async with self._bookkeeper.writing() as books:
            # Locks the plan's row: of several processes that find no tenant one makes it, the others wait here.
            await the(books, KeptPlan, STANDARD_PLAN)
            owners = await books.find(Tenant, request.tenant)
            owner = owners[0] if owners else Tenant(self._id("t"), request.tenant, created_at=author.now)
            if not owners:
                await add(books, author, owner)
            found = [key for key in await books.keys_of(owner.id) if key.name == request.name]
            if not found:
                key = await self._new_key(books, author, replace(request, tenant=owner.id), request.secret)
            else:
                digest, prefix = digest_of(request.secret), prefix_of(request.secret)
                key = replace(found[0], digest=digest, prefix=prefix, grants=request.grants)
                if key == found[0]:
                    return key
                key = await books.save(key)
                await note(books, author, "set", key, {"prefix": prefix, "grants": key.grants})
        await self._try_to_announce()
        return key

    async def create_token(self, author: Author, name: str, role: Role = Role.ADMIN) -> Issued:
        """A new admin token and its secret."""
        secret = self._secret("ga")
        async with self._bookkeeper.writing() as books:
            token = await self._new_token(books, author, name, (secret, role))
        return Issued(token, secret)

    async def rotate_key(self, author: Author, ref: str, overlap_s: float) -> Issued:
        """A new secret for the same key; the one before opens it for `overlap_s` seconds more, any older no longer."""
        if not 0 <= overlap_s < float("inf"):
            raise InvalidRequest("The overlap must be 0 seconds or more.", field="overlap_s")
        secret = self._secret("sk")
        async with self._bookkeeper.writing() as books:
            key = await the(books, Key, ref)
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
            await note(books, author, "rotate", key, {"prefix": key.prefix, "overlap_s": overlap_s})
        return Issued(key, secret, is_announced=await self._try_to_announce())

    async def revoke_key(self, author: Author, ref: str) -> Key:
        """End a key at once and for good; one that is revoked already stays as it is."""
        key = await self._revoke(author, Key, ref)
        # Also when it was revoked before: then the announcement may be what went wrong.
        await announce(self._announcer)
        return key

    async def revoke_token(self, author: Author, ref: str) -> AdminToken:
        """End an admin token at once and for good; one that is revoked already stays as it is."""
        return await self._revoke(author, AdminToken, ref)

    async def first_run(self, author: Author, admin_token: str = "", key: str = "") -> FirstRun | None:
        """Give a database its first tenant, key and admin token: those given, or minted ones. None if it has had them.

        What commands made before the first start takes nothing from it: only an admin token says that it had one. Of
        several processes that start at once exactly one gets an answer. A given credential that could not be used is
        InvalidRequest, first start or not.
        """
        _checked_credentials(key, admin_token)
        token_secret, secret = admin_token or self._secret("ga"), key or self._secret("sk")
        mark = self._id("run")
        async with self._bookkeeper.writing() as books:
            is_ours = await books.claim("first_run", mark) == mark
            if not is_ours or await books.all(AdminToken):
                return None
            tenant = None
            if not await books.is_secret_known(digest_of(secret)):
                tenant = Tenant(self._id("t"), _unused(_FIRST_NAME, await books.all(Tenant)), created_at=author.now)
                await add(books, author, tenant)
                await self._new_key(books, author, KeyRequest(tenant.id, "first"), secret)
            await self._new_token(books, author, "first", (token_secret, Role.ADMIN))
        return FirstRun(tenant, token_secret, secret)

    # --- helpers ---------------------------------------------------------------------------------

    async def _revoke(self, author: Author, kind: type[Secret], ref: str) -> Secret:
        async with self._bookkeeper.writing() as books:
            found = await the(books, kind, ref)
            if found.revoked_at is None:
                found = await books.save(replace(found, revoked_at=author.now))
                await note(books, author, "revoke", found, {})
        return found

    async def _new_key(self, books: Books, author: Author, request: KeyRequest, secret: str) -> Key:
        tenant = await the(books, Tenant, request.tenant)
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
        await add(books, author, key)
        return key

    async def _new_token(self, books: Books, author: Author, name: str, secret: tuple[str, Role]) -> AdminToken:
        text, role = secret
        token = AdminToken(self._id("a"), name, digest_of(text), prefix_of(text), role, created_at=author.now)
        await add(books, author, token)
        return token

    async def _try_to_announce(self) -> bool:
        """As `_announce`, but says so instead of raising: a secret that is not answered is lost."""
        try:
            await self._announcer.keys_changed()
        except StoreUnavailable:
            return False
        return True

    def _id(self, kind: str) -> str:
        return new_id(kind, self._random_bytes)

    def _secret(self, kind: str) -> str:
        return f"{kind}-{urlsafe_b64encode(self._random_bytes(_SECRET_BYTES)).decode().rstrip('=')}"


def _checked_credentials(key: str = "", admin_token: str = "") -> None:
    """Refuse given credentials that could not be used; "" is none given."""
    if key and not has_key_form(key):
        raise InvalidRequest("A key must be sk- and at least 17 letters, digits, _ or -.", field="key")
    if admin_token and not _TOKEN_FORM.fullmatch(admin_token):
        raise InvalidRequest("An admin token must be at least 20 letters, digits, _ or -.", field="admin_token")
    if key and key == admin_token:
        raise InvalidRequest("The admin token must not be the key as well.", field="admin_token")


def _unused(name: str, tenants: list[Tenant]) -> str:
    """The name, or with the first number that makes it nobody's."""
    taken = {tenant.name for tenant in tenants}
    return next(one for one in chain((name,), (f"{name}-{number}" for number in count(2))) if one not in taken)


def _refuse_ended(key: Key, now: float) -> None:
    if key.revoked_at is not None:
        raise InvalidRequest(f'The key "{key.name}" is revoked for good. Create a new one.')
    if key.expires_at is not None and key.expires_at <= now:
        raise InvalidRequest(f'The key "{key.name}" has expired. Set a later expiry first, then rotate it.')
