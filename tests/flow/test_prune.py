"""Who may forget what: never what quotas are counted from, and never without a note."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.adapters.sql.books import SqlBookkeeper
from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.ledger import SqlLedger
from gateway.adapters.sql.migrate import migrate
from gateway.adapters.sql.pruning import SqlPruner
from gateway.domain.errors import InvalidRequest
from gateway.flow.changes import Author
from gateway.flow.prune import AT_ONCE, Pruned, Pruner, check
from tests.contracts.sql.builders import RECORD

NOW = datetime(2027, 3, 15, 8, tzinfo=UTC).timestamp()
MARCH = datetime(2027, 3, 1, tzinfo=UTC).timestamp()
FEBRUARY = datetime(2027, 2, 1, tzinfo=UTC).timestamp()
ALICE = Author("alice", NOW)


@pytest.fixture
async def store(tmp_path):
    """A database with a record of each of three months and two audit entries."""
    url = f"sqlite:///{tmp_path}/gateway.db"
    await migrate(url)
    database = Database(url)
    moments = {"january": FEBRUARY - 1, "february": FEBRUARY, "march": MARCH}
    await SqlLedger(database).insert([replace(RECORD, job_id=job, entered_at=at) for job, at in moments.items()])
    pruner = Pruner(SqlPruner(database), SqlBookkeeper(database))
    yield database, pruner
    await database.close()


async def left(database):
    ledger = SqlLedger(database)
    return [job for job in ("january", "february", "march") if await ledger.find(job)]


async def test_what_is_older_goes_and_who_did_it_is_noted(store):
    database, pruner = store
    assert await pruner.would_prune(NOW, MARCH) == Pruned(2, 0)
    assert await left(database) == ["january", "february", "march"]
    assert await pruner.prune(ALICE, MARCH) == Pruned(2, 0)
    assert await left(database) == ["march"]
    async with SqlBookkeeper(database).reading() as books:
        [entry] = await books.audit(10)
    assert (entry.who, entry.action, entry.kind, entry.target) == ("alice", "prune", "database", "before 2027-03-01")
    assert entry.detail == {"records": 2, "entries": 0}


async def test_either_part_can_be_forgotten_by_itself(store):
    database, pruner = store
    await pruner.prune(replace(ALICE, now=NOW - 60 * 86_400), FEBRUARY - 90 * 86_400)
    assert await pruner.prune(ALICE, FEBRUARY, records=False) == Pruned(0, 1)
    assert await left(database) == ["january", "february", "march"]
    assert await pruner.prune(ALICE, FEBRUARY, entries=False) == Pruned(1, 0)


async def test_more_than_one_part_is_forgotten_whole(store):
    database, pruner = store
    many = [replace(RECORD, job_id=f"j{number}", entered_at=1.0) for number in range(AT_ONCE + 1)]
    await SqlLedger(database).insert(many)
    assert await pruner.prune(ALICE, FEBRUARY) == Pruned(AT_ONCE + 2, 0)


async def test_what_this_months_quotas_are_counted_from_is_never_forgotten(store):
    database, pruner = store
    for act in (pruner.would_prune(NOW, MARCH + 1), pruner.prune(ALICE, MARCH + 1)):
        with pytest.raises(InvalidRequest, match="latest date that can be given is 2027-03-01"):
            await act
    assert len(await left(database)) == 3
    check(NOW, MARCH)
