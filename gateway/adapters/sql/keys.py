"""Looking up credentials: the one statement behind every call whose key is not in the cache."""

from __future__ import annotations

from typing import Any

from sqlalchemy import RowMapping, Select, bindparam, or_, select

from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.rows import form_of, plan_of
from gateway.adapters.sql.tables import admin_tokens, keys, plans, tenants
from gateway.domain.forms import grants_of_json, overrides_of_json
from gateway.domain.managed import AdminToken, BoundCaller, narrowed

_PLAN_COLUMNS = [column for column in plans.c if column.name not in ("name", "created_at", "version")]
_CALLER: Select[Any] = (
    select(
        keys.c.id.label("key_id"),
        keys.c.digest,
        keys.c.prefix,
        keys.c.old_prefix,
        keys.c.old_valid_until,
        keys.c.expires_at,
        keys.c.revoked_at,
        keys.c.grants,
        keys.c.overrides,
        keys.c.default_model,
        keys.c.addresses,
        keys.c.allows_path,
        tenants.c.id.label("tenant_id"),
        tenants.c.name.label("tenant_name"),
        tenants.c.grants.label("tenant_grants"),
        plans.c.name.label("plan_name"),
        *_PLAN_COLUMNS,
    )
    .join_from(keys, tenants, keys.c.tenant_id == tenants.c.id)
    .join(plans, tenants.c.plan == plans.c.name)
    .where(or_(keys.c.digest == bindparam("digest"), keys.c.old_digest == bindparam("digest")))
    .order_by(keys.c.revoked_at.is_not(None))
)
_DIGESTS: Select[Any] = select(keys.c.digest, keys.c.old_digest).where(keys.c.revoked_at.is_(None))
_ADMIN: Select[Any] = select(admin_tokens).where(
    admin_tokens.c.digest == bindparam("digest"), admin_tokens.c.revoked_at.is_(None)
)


class SqlKeyStore:
    """Callers by the digest of their key, admin tokens by theirs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_caller(self, digest: str) -> BoundCaller | None:
        """The caller whose key has this SHA-256, None if there is none; one statement.

        A secret that a rotation replaced is found too and expires when its overlap ends. Expiry and revocation are the
        flow's to check.
        """
        async with self._database.reading() as connection:
            row = (await connection.execute(_CALLER, {"digest": digest})).mappings().first()
        return None if row is None else _caller_of(row, digest)

    async def find_digests(self) -> frozenset[str]:
        """The SHA-256 of every key that is not revoked; one statement."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(_DIGESTS)).all()
        return frozenset(digest for row in rows for digest in row if digest)

    async def find_admin(self, digest: str) -> AdminToken | None:
        """The admin token with this SHA-256, None if there is none or it is revoked."""
        async with self._database.reading() as connection:
            row = (await connection.execute(_ADMIN, {"digest": digest})).mappings().one_or_none()
        return None if row is None else form_of(AdminToken).read(row)


def _caller_of(row: RowMapping, digest: str) -> BoundCaller:
    is_current = row["digest"] == digest
    ends = (row["expires_at"], None if is_current else row["old_valid_until"])
    return BoundCaller(
        key_id=row["key_id"],
        key_prefix=row["prefix"] if is_current else row["old_prefix"],
        tenant_id=row["tenant_id"],
        tenant_name=row["tenant_name"],
        plan=plan_of(row, name="plan_name"),
        grants=narrowed(grants_of_json(row["grants"]), grants_of_json(row["tenant_grants"])),
        overrides=overrides_of_json(row["overrides"]),
        default_model=row["default_model"],
        expires_at=min((end for end in ends if end is not None), default=None),
        addresses=tuple(row["addresses"]),
        allows_path=row["allows_path"],
        is_revoked=row["revoked_at"] is not None,
    )
