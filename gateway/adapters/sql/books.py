"""What is managed, kept in SQL: transactions in which every change is checked against the version it was based on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.adapters.sql.engine import Database, inserting
from gateway.adapters.sql.rows import form_of
from gateway.adapters.sql.tables import audit_log, keys, meta, speeds, tenants
from gateway.domain.managed import AuditEntry, EditConflict, Key, Managed, NameTaken, Speed, SpeedOf, Thing, word_for


class SqlBookkeeper:
    """Opens transactions on what is managed; also keeps learned speeds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SqlBooks]:
        """One view; nothing may be written."""
        async with self._database.reading() as connection:
            yield SqlBooks(connection, is_sqlite=self._database.is_sqlite, locks=False)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[SqlBooks]:
        """One change: all of it is kept when the block ends, nothing when it raises."""
        async with self._database.writing() as connection:
            yield SqlBooks(connection, is_sqlite=self._database.is_sqlite, locks=True)

    async def load_speeds(self) -> list[Speed]:
        """All learned speeds."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(speeds))).mappings().all()
        return [Speed(row["backend"], SpeedOf(row["kind"]), row["name"], row["seconds"]) for row in rows]

    async def save_speeds(self, learned: Sequence[Speed], now: float) -> None:
        """Keep these, in place of what was kept for the same backend and name."""
        if not learned:
            return
        statement = inserting(self._database.is_sqlite)(speeds)
        upsert = statement.on_conflict_do_update(
            index_elements=list(speeds.primary_key),
            set_={"seconds": statement.excluded.seconds, "learned_at": statement.excluded.learned_at},
        )
        # In one order everywhere, so that two processes never wait for each other's rows.
        rows = [
            {"backend": s.backend, "kind": s.of, "name": s.name, "seconds": s.seconds, "learned_at": now}
            for s in sorted(learned, key=lambda s: (s.backend, s.of, s.name))
        ]
        async with self._database.writing() as connection:
            await connection.execute(upsert, rows)


class SqlBooks:
    """What is managed, inside one transaction."""

    def __init__(self, connection: AsyncConnection, *, is_sqlite: bool, locks: bool) -> None:
        self._connection = connection
        self._is_sqlite = is_sqlite
        self._locks = locks

    async def find(self, kind: type[Thing], ref: str) -> list[Thing]:
        """All of this kind that `ref` can mean: an id or a name; for keys also a prefix or `tenant/name`."""
        form = form_of(kind)
        meant = or_(*(column == ref for column in form.names))
        if kind is Key and "/" in ref:
            tenant, name = ref.split("/", 1)
            owner = select(tenants.c.id).where(or_(tenants.c.id == tenant, tenants.c.name == tenant))
            meant = keys.c.tenant_id.in_(owner) & (keys.c.name == name)
        statement = select(form.table).where(meant)
        if self._locks:
            statement = statement.with_for_update()  # SQLite needs none: its transaction began IMMEDIATE
        rows = (await self._connection.execute(statement)).mappings().all()
        return [form.read(row) for row in rows]

    async def all(self, kind: type[Thing]) -> list[Thing]:
        """Everything of this kind, by name."""
        form = form_of(kind)
        rows = (await self._connection.execute(select(form.table).order_by(form.table.c.name))).mappings().all()
        return [form.read(row) for row in rows]

    async def keys_of(self, tenant_id: str) -> list[Key]:
        """The tenant's keys, by name."""
        form = form_of(Key)
        statement = select(keys).where(keys.c.tenant_id == tenant_id).order_by(keys.c.name)
        return [form.read(row) for row in (await self._connection.execute(statement)).mappings().all()]

    async def add(self, thing: Managed) -> None:
        """Keep something new; NameTaken if its name, id or digest is in use."""
        form = form_of(type(thing))
        try:
            await self._connection.execute(insert(form.table).values(form.write(thing)))
        except IntegrityError as error:
            raise NameTaken(word_for(type(thing)), thing.name) from error

    async def save(self, thing: Thing) -> Thing:
        """Keep the change and answer it with its new version; EditConflict if the kept version is another."""
        form = form_of(type(thing))
        saved: Thing = replace(thing, version=thing.version + 1)
        statement = (
            update(form.table)
            .where(form.id == thing.id, form.table.c.version == thing.version)
            .values(form.write(saved))
        )
        try:
            result = await self._connection.execute(statement)
        except IntegrityError as error:
            raise NameTaken(word_for(type(thing)), thing.name) from error
        if result.rowcount != 1:
            raise EditConflict(word_for(type(thing)), thing.name, thing.version)
        return saved

    async def remove(self, thing: Managed) -> None:
        """Forget it; EditConflict if the kept version is another."""
        form = form_of(type(thing))
        statement = delete(form.table).where(form.id == thing.id, form.table.c.version == thing.version)
        if (await self._connection.execute(statement)).rowcount != 1:
            raise EditConflict(word_for(type(thing)), thing.name, thing.version)

    async def note(self, entry: AuditEntry) -> None:
        """Write who changed what; kept if and only if the transaction is."""
        row = {"at": entry.at, "who": entry.who, "action": entry.action, "kind": entry.kind, "target": entry.target}
        await self._connection.execute(insert(audit_log).values({**row, "detail": dict(entry.detail)}))

    async def audit(self, limit: int) -> list[AuditEntry]:
        """The latest `limit` changes, newest first."""
        statement = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
        rows = (await self._connection.execute(statement)).mappings().all()
        return [AuditEntry(**{name: value for name, value in row.items() if name != "id"}) for row in rows]

    async def is_secret_known(self, digest: str) -> bool:
        """Whether a key, also one that is revoked or replaced, has or had this SHA-256."""
        statement = select(keys.c.id).where(or_(keys.c.digest == digest, keys.c.old_digest == digest)).limit(1)
        return (await self._connection.execute(statement)).first() is not None

    async def claim(self, name: str, value: str) -> str:
        """Keep `value` under `name` unless something is kept there; what is kept there now."""
        statement = inserting(self._is_sqlite)(meta).values(name=name, value=value)
        await self._connection.execute(statement.on_conflict_do_nothing())
        kept = await self._connection.execute(select(meta.c.value).where(meta.c.name == name))
        return str(kept.scalar_one())

    async def claimed(self, prefix: str) -> Mapping[str, str]:
        """Every value that is kept under a name with this beginning."""
        statement = select(meta).where(meta.c.name.startswith(prefix, autoescape=True))
        return {row["name"]: row["value"] for row in (await self._connection.execute(statement)).mappings()}

    async def release(self, name: str) -> bool:
        """Forget what is kept under `name`; whether there was anything."""
        return bool((await self._connection.execute(delete(meta).where(meta.c.name == name))).rowcount)
