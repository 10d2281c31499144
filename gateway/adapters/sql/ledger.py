"""The ledger: one record a job, kept whatever its texts and numbers are, and sums over it.

What PostgreSQL cannot keep (NUL, lone surrogates) and what SQLite turns into NULL (NaN) is replaced before it is sent.
A record that the database refuses all the same is told by its job, and holds up no other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Insert, Select, case, func, select
from sqlalchemy.exc import IntegrityError

from gateway.adapters.sql.engine import Database, inserting, refusal_of
from gateway.adapters.sql.tables import keys, ledger, meta, tenants
from gateway.domain.errors import StoreUnavailable
from gateway.domain.jobs import Operation, Outcome
from gateway.domain.reconciliation import Count
from gateway.domain.reports import DAY_S, Grouping, UsageQuestion, UsageRow, day_of
from gateway.domain.usage import Measure, Record, Window

_COLUMNS = tuple(part.name for part in fields(Record))
_BIGGEST = 2**63 - 1
_COUNT = "admitted since "
PRUNED = "pruned since "
_AT_ONCE = 10_000  # names in one question; SQLite takes 32,766


class SqlLedger:
    """Closed jobs in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, records: Sequence[Record]) -> Mapping[str, str]:
        """Keep each record once: an id already kept is left alone, but for one kept as `lost`, which is corrected.

        Gives those that the database refuses for what is in them, by job, with the reason; the others are kept.
        """
        return await self._insert([_row_of(record) for record in records]) if records else {}

    async def _insert(self, rows: list[dict[str, Any]]) -> dict[str, str]:
        """Rows that are refused together are tried in halves, until those at fault stand alone."""
        try:
            async with self._database.writing() as connection:
                await connection.execute(_upsert(self._database.is_sqlite), rows)
        except (IntegrityError, StoreUnavailable) as error:
            reason = refusal_of(error)
            if not reason:
                raise
            if len(rows) == 1:
                return {rows[0]["job_id"]: reason}
            middle = len(rows) // 2
            return await self._insert(rows[:middle]) | await self._insert(rows[middle:])
        return {}

    async def used(self, tenant_id: str, measure: Measure, window: Window, since: float) -> float:
        """What the tenant's jobs that entered at or after `since` used; `window` is told by `since` already."""
        del window
        column = ledger.c.images if measure is Measure.IMAGES else ledger.c.gpu_seconds
        question = select(func.coalesce(func.sum(column), 0)).where(
            ledger.c.tenant_id == tenant_id, ledger.c.entered_at >= since
        )
        async with self._database.reading() as connection:
            return float((await connection.execute(question)).scalar_one())

    async def find(self, job_id: str) -> Record | None:
        """The job's record, None while there is none."""
        question = select(*(ledger.c[name] for name in _COLUMNS)).where(ledger.c.job_id == job_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(question)).mappings().one_or_none()
        if row is None:
            return None
        named = {**row, "operation": Operation(row["operation"]), "outcome": Outcome(row["outcome"])}
        return Record(**named)

    async def note_count(self, count: Count) -> None:
        """Keep how many jobs were admitted since then, in place of what was kept for the same beginning."""
        insert = inserting(self._database.is_sqlite)
        statement = insert(meta).values(name=f"{_COUNT}{count.since!r}", value=str(count.admitted))
        statement = statement.on_conflict_do_update(
            index_elements=[meta.c.name], set_={"value": statement.excluded.value}
        )
        async with self._database.writing() as connection:
            await connection.execute(statement)

    async def counts(self) -> list[Count]:
        """Every count that was noted."""
        question = select(meta.c.name, meta.c.value).where(meta.c.name.startswith(_COUNT, autoescape=True))
        async with self._database.reading() as connection:
            rows = (await connection.execute(question)).all()
        return [Count(float(name.removeprefix(_COUNT)), int(value)) for name, value in rows]

    async def recorded(self, since: float, until: float) -> int:
        """How many records are, or were until they were pruned, of jobs that entered in [`since`, `until`]; `since` is
        the beginning of a count.
        """
        pruned = select(meta.c.value).where(meta.c.name == f"{PRUNED}{since!r}")
        async with self._database.reading() as connection:
            gone = int((await connection.execute(pruned)).scalar_one_or_none() or 0)
        return gone + await self._count(ledger.c.entered_at.between(since, until))

    async def recorded_of(self, job_ids: Sequence[str]) -> int:
        """How many of these jobs have a record."""
        parts = (job_ids[first : first + _AT_ONCE] for first in range(0, len(job_ids), _AT_ONCE))
        return sum([await self._count(ledger.c.job_id.in_(part)) for part in parts])

    async def _count(self, condition: ColumnElement[bool]) -> int:
        async with self._database.reading() as connection:
            return int((await connection.execute(select(func.count()).where(condition))).scalar_one())

    async def usage(self, question: UsageQuestion) -> list[UsageRow]:
        """One row per group, ordered by the groups; tenants and keys by name, or by id where that is gone."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(_sums(question))).mappings().all()
        wide = len(question.by)
        return [
            UsageRow(
                groups=tuple(_label(row[f"group_{index}"], question.by[index]) for index in range(wide)),
                **{name: _plain_number(row[name]) for name in _SUMS},
            )
            for row in rows
        ]


def _upsert(is_sqlite: bool) -> Insert:
    statement = inserting(is_sqlite)(ledger)
    upsert: Insert = statement.on_conflict_do_update(
        index_elements=[ledger.c.job_id],
        set_={column.name: statement.excluded[column.name] for column in ledger.c if column.name != "job_id"},
        where=(ledger.c.outcome == Outcome.LOST) & (statement.excluded.outcome != Outcome.LOST),
    )
    return upsert


def _row_of(record: Record) -> dict[str, Any]:
    row = {name: _keepable(getattr(record, name)) for name in _COLUMNS}
    return {**row, "day": _keepable(day_of(row["entered_at"]))}


def _keepable(value: Any) -> Any:  # noqa: ANN401 - any field of a record
    if isinstance(value, str):
        return str(value).replace("\0", "").encode(errors="replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else 0.0
    return max(-_BIGGEST, min(value, _BIGGEST))


def _sum(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(column), 0)


def _queue_s() -> ColumnElement[Any]:
    """As `Record.queue_s`."""
    began = case((ledger.c.started_at > 0, ledger.c.started_at), else_=ledger.c.ended_at)
    return case((began > ledger.c.entered_at, began - ledger.c.entered_at), else_=0.0)


_SUMS: Mapping[str, ColumnElement[Any]] = MappingProxyType(
    {
        "jobs": func.count(),
        "finished": _sum(case((ledger.c.outcome == Outcome.FINISHED, 1), else_=0)),
        "images": _sum(ledger.c.images),
        "gpu_seconds": _sum(ledger.c.gpu_seconds),
        "queue_s": _sum(_queue_s()),
        "swap_s": _sum(ledger.c.swap_s),
        "megapixel_steps": _sum(ledger.c.megapixel_steps),
        "bytes_in": _sum(ledger.c.bytes_in),
        "bytes_out": _sum(ledger.c.bytes_out),
    }
)
_GROUPS: Mapping[Grouping, ColumnElement[Any]] = MappingProxyType(
    {
        Grouping.TENANT: func.coalesce(tenants.c.name, ledger.c.tenant_id),
        Grouping.KEY: func.coalesce(tenants.c.name + "/" + keys.c.name, ledger.c.key_id),
        Grouping.MODEL: ledger.c.model,
        Grouping.DAY: ledger.c.day,
    }
)


def _sums(question: UsageQuestion) -> Select[Any]:
    labels = [f"group_{index}" for index in range(len(question.by))]
    groups = [_GROUPS[by].label(label) for by, label in zip(question.by, labels, strict=True)]
    statement = (
        select(*groups, *(column.label(name) for name, column in _SUMS.items()))
        .select_from(ledger)
        .outerjoin(tenants, tenants.c.id == ledger.c.tenant_id)
        .outerjoin(keys, keys.c.id == ledger.c.key_id)
        .where(ledger.c.entered_at >= question.since, ledger.c.entered_at < question.until)
        # By label, not by expression: PostgreSQL takes the same expression with other parameters for another one.
        .group_by(*labels)
        .order_by(*labels)
    )
    wanted = {"tenant_id": question.tenant_id, "key_id": question.key_id, "model": question.model}
    return statement.where(*(ledger.c[name] == value for name, value in wanted.items() if value))


def _plain_number(value: Decimal | float) -> Any:  # noqa: ANN401 - int or float, as the field is
    """PostgreSQL sums whole numbers into decimals."""
    return int(value) if isinstance(value, Decimal) else value


def _label(value: Any, by: Grouping) -> str:  # noqa: ANN401 - text, or a number of days
    if by is Grouping.DAY:
        return datetime.fromtimestamp(value * DAY_S, UTC).date().isoformat()
    return str(value)
