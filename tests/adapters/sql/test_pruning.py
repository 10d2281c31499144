"""Forgetting what is old, on every database."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import insert

from gateway.adapters.sql.pruning import SqlPruner
from gateway.adapters.sql.tables import audit_log
from gateway.domain.reconciliation import Count
from tests.contracts.sql.builders import RECORD, statements_on


@pytest.fixture
def pruner(database):
    return SqlPruner(database)


async def keep_records(ledger, *entered):
    await ledger.insert([replace(RECORD, job_id=f"job-{at}", entered_at=float(at)) for at in entered])


async def test_records_older_than_a_moment_go_and_all_others_stay(ledger, pruner):
    await keep_records(ledger, 10, 20, 29, 30, 40)
    assert await pruner.old_records(30.0) == 3
    assert await pruner.forget_records(30.0, 100) == 3
    assert [await ledger.find(f"job-{at}") is not None for at in (10, 20, 29, 30, 40)] == [False] * 3 + [True] * 2
    assert (await pruner.old_records(30.0), await pruner.forget_records(30.0, 100)) == (0, 0)


async def test_many_go_a_few_at_a_time(database, ledger, pruner):
    await keep_records(ledger, *range(25))
    parts = [await pruner.forget_records(20.0, 8) for _ in range(4)]
    assert parts == [8, 8, 4, 0]
    assert await pruner.old_records(1e9) == 5


async def test_the_ledger_adds_up_as_before_with_what_was_pruned_of_each_life_of_the_store(ledger, pruner):
    await ledger.note_count(Count(10.5, 3))
    await ledger.note_count(Count(20.5, 3))
    await keep_records(ledger, 5, 11, 12, 13, 21, 22, 23)
    before = [await ledger.recorded(10.5, 20.5), await ledger.recorded(20.5, 30.0)]
    assert before == [3, 3]
    for moment in (12.5, 13.5, 22.5):  # in several goes, over the border between the two
        while await pruner.forget_records(moment, 1):
            pass
    assert [await ledger.recorded(10.5, 20.5), await ledger.recorded(20.5, 30.0)] == before
    assert await pruner.old_records(1e9) == 1


async def test_audit_entries_older_than_a_moment_go_and_all_others_stay(database, bookkeeper, pruner):
    entry = {"who": "w", "action": "a", "kind": "k", "target": "t", "detail": {}}
    async with database.writing() as connection:
        await connection.execute(insert(audit_log), [{"at": float(at), **entry} for at in range(12)])
    assert await pruner.old_entries(10.0) == 10
    assert [await pruner.forget_entries(10.0, 6) for _ in range(3)] == [6, 4, 0]
    async with bookkeeper.reading() as books:
        assert [one.at for one in await books.audit(100)] == [11.0, 10.0]


async def test_a_part_is_deleted_in_one_statement_however_many_records_it_has(database, ledger, pruner):
    await keep_records(ledger, *range(300))
    with statements_on(database) as statements:
        assert await pruner.forget_records(300.0, 5000) == 300
    assert len([one for one in statements if "DELETE" in one]) == 1
