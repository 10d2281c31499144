"""One job on the command line: from the store while it lives, from the ledger afterwards."""

from __future__ import annotations

import asyncio

from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.ledger import SqlLedger
from tests.cli.test_queue import shop
from tests.contracts.sql.builders import RECORD

__all__ = ["shop"]


def test_a_running_job_shows_where_it_is_and_why(gateway, shop):
    told = gateway("job", shop[0])

    assert "running" in told
    assert "free with its checkpoint loaded while nobody waited" in told


def test_a_job_of_long_ago_is_shown_from_the_ledger(gateway, valkey):
    gateway("tenant", "create", "acme")
    gateway.redis_url = valkey.url

    async def keep():
        database = Database(gateway.url)
        await SqlLedger(database).insert([RECORD])
        await database.close()

    asyncio.run(keep())
    told = gateway.json("job", RECORD.job_id)

    assert told["job"] is None
    assert (told["record"]["job_id"], told["record"]["outcome"]) == (RECORD.job_id, RECORD.outcome)


def test_a_job_that_nobody_knows_is_told_and_ends_with_status_1(gateway, shop):
    assert "nobody knows the job nothing" in gateway("job", "nothing", status=1)
