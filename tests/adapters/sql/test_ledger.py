from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.ledger import SqlLedger
from gateway.adapters.sql.tables import ledger as table
from gateway.domain.errors import StoreUnavailable
from gateway.domain.jobs import Operation, Outcome
from gateway.domain.reconciliation import Count
from gateway.domain.reports import DAY_S, Grouping, UsageQuestion, UsageRow
from gateway.domain.usage import Measure, Record, Window
from tests.contracts.sql.builders import ACME, KEY, RECORD, keep, statements_on

LOST = replace(RECORD, outcome=Outcome.LOST, images=0, gpu_seconds=0.0)
EVER = {"since": 0.0, "until": 4e9}


async def kept(database):
    async with database.reading() as connection:
        rows = (await connection.execute(select(table).order_by(table.c.job_id))).mappings().all()
    names = [part.name for part in fields(Record)]
    return [
        Record(
            **{
                **{n: row[n] for n in names},
                "operation": Operation(row["operation"]),
                "outcome": Outcome(row["outcome"]),
            }
        )
        for row in rows
    ]


async def test_records_are_kept_whole_in_one_statement(database, ledger):
    records = [replace(RECORD, job_id=f"job-{number:03}", images=number) for number in range(300)]

    with statements_on(database) as statements:
        await ledger.insert(records)

    assert len(statements) == 1
    assert await kept(database) == records


async def test_a_record_that_is_delivered_again_changes_nothing(database, ledger):
    await ledger.insert([RECORD])
    await ledger.insert([replace(RECORD, images=99, outcome=Outcome.FAILED), replace(RECORD, job_id="job-2")])

    assert await kept(database) == [RECORD, replace(RECORD, job_id="job-2")]


async def test_a_lost_record_is_corrected_once_and_then_stays(database, ledger):
    await ledger.insert([LOST])
    await ledger.insert([RECORD])
    assert await kept(database) == [RECORD]

    await ledger.insert([LOST, replace(RECORD, images=50)])
    assert await kept(database) == [RECORD]


async def test_a_job_that_is_lost_twice_keeps_its_first_record(database, ledger):
    await ledger.insert([LOST])
    await ledger.insert([replace(LOST, reason="again")])

    assert await kept(database) == [LOST]


async def test_the_same_job_twice_in_one_delivery_is_one_record(database, ledger):
    await ledger.insert([LOST, RECORD, replace(RECORD, images=7)])

    assert await kept(database) == [RECORD]


async def test_the_same_delivery_from_many_sides_at_once_is_kept_once(database, ledger):
    records = [replace(RECORD, job_id=f"job-{number:02}") for number in range(20)]

    await asyncio.gather(*(ledger.insert(records) for _ in range(8)))

    assert await kept(database) == records


async def test_nothing_to_insert_is_nothing_to_do(database, ledger):
    with statements_on(database) as statements:
        await ledger.insert([])

    assert statements == []


async def test_texts_and_numbers_that_a_database_refuses_are_kept_as_near_as_it_can(database, ledger):
    # One record that is refused would hold up every record behind it in the outbox.
    odd = replace(RECORD, reason="a\0b\ud800c", model="\U0001f600", gpu_seconds=float("nan"), bytes_in=2**70)

    await ledger.insert([odd])

    assert await kept(database) == [
        replace(RECORD, reason="ab?c", model="\U0001f600", gpu_seconds=0.0, bytes_in=2**63 - 1)
    ]


@given(text=st.text(alphabet=st.characters(codec=None, categories=None)), number=st.floats())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_a_record_it_is_kept(url, text, number):
    async def insert():
        database = Database(url)
        try:
            await SqlLedger(database).insert([replace(RECORD, job_id=uuid4().hex, reason=text, swap_s=number)])
        finally:
            await database.close()

    asyncio.run(insert())


@pytest.mark.parametrize(("measure", "used"), [(Measure.IMAGES, 5.0), (Measure.GPU_SECONDS, 13.0)])
async def test_what_a_tenant_used_is_what_its_jobs_that_entered_since_then_used(ledger, measure, used):
    since = RECORD.entered_at
    await ledger.insert(
        [
            RECORD,
            replace(RECORD, job_id="later", entered_at=since + 1, images=3),
            replace(RECORD, job_id="before", entered_at=since - 0.001),
            replace(RECORD, job_id="other", tenant_id="t_other"),
        ]
    )

    assert await ledger.used(ACME.id, measure, Window.DAY, since) == used


async def test_a_tenant_without_jobs_used_nothing(ledger):
    assert await ledger.used("t_nobody", Measure.IMAGES, Window.MONTH, 0.0) == 0.0


async def test_usage_by_day_and_model_sums_what_belongs_together(ledger):
    midnight = 20 * DAY_S
    first = replace(RECORD, entered_at=midnight - 0.5, started_at=midnight + 1.5, ended_at=midnight + 10)
    await ledger.insert(
        [
            first,
            replace(first, job_id="2", entered_at=float(midnight)),
            replace(first, job_id="3", entered_at=float(midnight), outcome=Outcome.FAILED, images=0, model="harbor"),
            replace(first, job_id="4", entered_at=float(midnight), outcome=Outcome.WITHDRAWN, started_at=0.0),
        ]
    )

    rows = await ledger.usage(UsageQuestion((Grouping.DAY, Grouping.MODEL), **EVER))

    one = UsageRow((), 1, 1, 2, 6.5, 1.5, 1.5, 40.0, 500, 2_000_000)
    assert rows == [
        replace(one, groups=("1970-01-20", "aurora-xl"), queue_s=2.0),
        UsageRow(("1970-01-21", "aurora-xl"), 2, 1, 4, 13.0, 11.5, 3.0, 80.0, 1000, 4_000_000),
        replace(one, groups=("1970-01-21", "harbor"), finished=0, images=0),
    ]


async def test_usage_names_tenants_and_keys_and_keeps_the_ids_of_those_that_are_gone(bookkeeper, ledger):
    await keep(bookkeeper, ACME, KEY)
    await ledger.insert([RECORD, replace(RECORD, job_id="2", tenant_id="t_gone", key_id="k_gone")])

    rows = await ledger.usage(UsageQuestion((Grouping.TENANT, Grouping.KEY), **EVER))

    assert [row.groups for row in rows] == [("acme", "acme/first"), ("t_gone", "k_gone")]


async def test_usage_without_a_grouping_is_one_row_of_totals_even_of_nothing(ledger):
    assert await ledger.usage(UsageQuestion((), **EVER)) == [UsageRow(())]

    await ledger.insert([RECORD, replace(RECORD, job_id="2")])

    [total] = await ledger.usage(UsageQuestion((), **EVER))
    assert (total.jobs, total.images, total.gpu_seconds) == (2, 4, 13.0)
    assert [type(total.images), type(total.gpu_seconds), type(total.bytes_in)] == [int, float, int]


@pytest.mark.parametrize(
    ("bounds", "jobs"),
    [
        ({"tenant_id": "t_acme"}, 2),
        ({"key_id": "k_other"}, 1),
        ({"model": "harbor"}, 1),
        ({"tenant_id": "t_acme", "model": "harbor"}, 0),
        ({"since": 1_000_000.0, "until": 1_000_001.0}, 2),
        ({"since": 1_000_000.0, "until": 1_000_000.0}, 0),
    ],
)
async def test_usage_can_be_bound_to_a_tenant_a_key_a_model_and_a_time(ledger, bounds, jobs):
    other = replace(RECORD, tenant_id="t_other", key_id="k_other", model="harbor", entered_at=1_000_001.0)
    await ledger.insert([RECORD, replace(RECORD, job_id="2"), replace(other, job_id="3")])

    [total] = await ledger.usage(UsageQuestion((), **{**EVER, **bounds}))

    assert total.jobs == jobs


async def test_records_are_counted_by_when_their_jobs_entered_and_by_name(ledger):
    entered = {f"job-{number}": 1000.0 + number for number in range(5)}
    await ledger.insert([replace(RECORD, job_id=job, entered_at=at) for job, at in entered.items()])

    assert await ledger.recorded(1001.0, 1003.0) == 3
    assert await ledger.recorded_of(["job-0", "job-4", "nobody"]) == 2
    assert await ledger.recorded_of([]) == 0


async def test_more_names_than_one_question_takes_are_counted(ledger):
    await ledger.insert([replace(RECORD, job_id=f"job-{number}") for number in range(3)])

    assert await ledger.recorded_of([f"job-{number}" for number in range(25_000)]) == 3


async def test_a_count_is_kept_exactly_and_replaced_by_a_later_one_of_the_same_beginning(ledger):
    since = 1_795_000_000.123457
    await ledger.note_count(Count(since, 3))
    await ledger.note_count(Count(since, 8))
    await ledger.note_count(Count(since + 1e-6, 1))

    assert sorted(await ledger.counts(), key=lambda count: count.since) == [Count(since, 8), Count(since + 1e-6, 1)]


async def refuse_model(database, model):
    """What an operator's own rule in the database could be: no record of this model."""
    async with database.writing() as connection:
        if database.is_sqlite:
            rule = f"BEGIN SELECT RAISE(ABORT, 'not {model}') WHERE NEW.model = '{model}'; END"
            await connection.execute(text(f"CREATE TRIGGER refuse BEFORE INSERT ON ledger {rule}"))
        else:
            await connection.execute(text(f"ALTER TABLE ledger ADD CHECK (model <> '{model}')"))


async def test_records_that_the_database_refuses_are_told_and_all_others_are_kept(ledger, database):
    await refuse_model(database, "poison")
    records = [
        replace(RECORD, job_id=f"j{number}", model="poison" if number in (0, 7, 8) else "red") for number in range(20)
    ]

    refused = await ledger.insert(records)

    assert set(refused) == {"j0", "j7", "j8"}
    assert all(refused.values())
    assert await ledger.recorded_of([one.job_id for one in records]) == 17
    assert await ledger.insert(records[1:3]) == {}


async def test_a_database_that_is_away_or_takes_no_writes_refuses_no_record(ledger, database):
    async with database.writing() as connection:
        await connection.execute(text("DROP TABLE ledger"))

    with pytest.raises(StoreUnavailable):
        await ledger.insert([RECORD, replace(RECORD, job_id="other")])
