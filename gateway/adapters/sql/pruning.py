"""Forgetting what is old: ledger records and audit entries, a few thousand in each transaction, so that nobody waits.

Of pruned records it is kept how many there were in each life of the hot store's data: else the ledger would no longer
add up with what was admitted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter

from sqlalchemy import BigInteger, ColumnElement, Table, Text, cast, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.adapters.sql.engine import Database, inserting
from gateway.adapters.sql.ledger import PRUNED, SqlLedger
from gateway.adapters.sql.tables import audit_log, ledger, meta


class SqlPruner:
    """Deletes from one database. Fulfils `ports.Prunable`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ledger = SqlLedger(database)

    async def old_records(self, before: float) -> int:
        """How many records are of jobs that entered before then."""
        return await self._count(ledger, ledger.c.entered_at < before)

    async def old_entries(self, before: float) -> int:
        """How many audit entries were written before then."""
        return await self._count(audit_log, audit_log.c.at < before)

    async def forget_records(self, before: float, at_most: int) -> int:
        """Delete some of them; how many."""
        begins = sorted(count.since for count in await self._ledger.counts())
        some = select(ledger.c.job_id).where(ledger.c.entered_at < before).limit(at_most)
        statement = delete(ledger).where(ledger.c.job_id.in_(some)).returning(ledger.c.entered_at)
        async with self._database.writing() as connection:
            entered = list((await connection.execute(statement)).scalars())
            lives = Counter(bisect_right(begins, at) for at in entered)
            for life, number in sorted(lives.items()):
                if life:  # what entered before counting began is counted nowhere
                    await self._note(connection, f"{PRUNED}{begins[life - 1]!r}", number)
        return len(entered)

    async def forget_entries(self, before: float, at_most: int) -> int:
        """Delete some of them; how many."""
        some = select(audit_log.c.id).where(audit_log.c.at < before).limit(at_most)
        async with self._database.writing() as connection:
            return (await connection.execute(delete(audit_log).where(audit_log.c.id.in_(some)))).rowcount

    async def _note(self, connection: AsyncConnection, name: str, number: int) -> None:
        statement = inserting(self._database.is_sqlite)(meta)
        more = cast(cast(meta.c.value, BigInteger) + number, Text)
        statement = statement.values(name=name, value=str(number))
        await connection.execute(statement.on_conflict_do_update(index_elements=[meta.c.name], set_={"value": more}))

    async def _count(self, table: Table, condition: ColumnElement[bool]) -> int:
        async with self._database.reading() as connection:
            question = select(func.count()).select_from(table).where(condition)
            return int((await connection.execute(question)).scalar_one())
