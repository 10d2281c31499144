from __future__ import annotations

import asyncio
import csv
import io
from dataclasses import replace

import pytest

from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.jobs import RedisJobs
from gateway.adapters.redis.outbox import RedisOutbox
from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.ledger import SqlLedger
from tests.contracts.job_worlds import entry, leaving
from tests.contracts.sql.builders import RECORD
from tests.support.patience import PATIENCE_S

DAY = 86_400.0


@pytest.fixture
def jobs(gateway):
    """Two jobs yesterday and one 40 days ago, of one key of acme."""
    tenant = gateway.json("tenant", "create", "acme")
    key = gateway.json("key", "create", "acme", "laptop")
    record = replace(RECORD, tenant_id=tenant["id"], key_id=key["id"])

    async def insert():
        database = Database(gateway.url)
        entered = {"1": gateway.now - DAY, "2": gateway.now - DAY, "3": gateway.now - 40 * DAY}
        await SqlLedger(database).insert([replace(record, job_id=job, entered_at=at) for job, at in entered.items()])
        await database.close()

    asyncio.run(insert())
    return record


def test_usage_is_by_tenant_over_thirty_days_unless_told_otherwise(gateway, jobs):
    [row] = gateway.json("usage")

    assert (row["tenant"], row["jobs"], row["images"], row["gpu_seconds"]) == ("acme", 2, 4, 13.0)


def test_usage_groups_by_several_things_at_once(gateway, jobs):
    rows = gateway.json("usage", "--by", "day", "--by", "key", "--by", "model", "--since", "1w")

    assert [(row["day"], row["key"], row["model"], row["jobs"]) for row in rows] == [
        ("2027-01-14", "acme/laptop", "aurora-xl", 2)
    ]


def test_usage_is_bound_by_dates_tenant_key_and_model(gateway, jobs):
    def counted(*words):
        return sum(row["jobs"] for row in gateway.json("usage", *words))

    assert counted("--since", "2026-01-01") == 3
    assert counted("--since", "2026-01-01", "--until", "2027-01-01") == 1
    assert counted("--tenant", "acme", "--key", "acme/laptop", "--model", "aurora-xl") == 2
    assert counted("--model", "another") == 0
    assert "There is no tenant" in gateway("usage", "--tenant", "nobody", status=1)


def test_usage_as_csv_is_read_back_by_any_reader(gateway, jobs):
    [row] = csv.DictReader(io.StringIO(gateway("usage", "--csv")))

    assert (row["tenant"], row["jobs"], row["finished"], row["bytes_out"]) == ("acme", "2", "2", "4000000")


def test_usage_as_a_table_names_its_columns(gateway, jobs):
    head, line = gateway("usage").splitlines()

    assert head.split()[:3] == ["tenant", "jobs", "finished"]
    assert line.split()[:3] == ["acme", "2", "2"]


def test_usage_as_a_chart_has_a_bar_for_each_day(gateway, jobs):
    lines = [line.split() for line in gateway("usage", "--chart").splitlines() if "█" in line]
    assert [line[:2] for line in lines] == [["2027-01-14", "13"]]
    [line] = [
        line for line in gateway("usage", "--chart", "--of", "images", "--by", "model").splitlines() if "█" in line
    ]
    assert line.split()[:2] == ["aurora-xl", "4"]


def test_a_chart_of_what_is_no_number_is_a_misuse_that_names_what_there_is(gateway):
    assert "gpu_seconds" in gateway("usage", "--chart", "--of", "groups", status=2)


@pytest.mark.parametrize("both", [("--json", "--csv"), ("--chart", "--csv"), ("--json", "--chart")])
def test_two_kinds_of_answer_at_once_are_a_misuse(gateway, both):
    assert "Choose one" in gateway("usage", *both, status=2)


def test_an_unknown_grouping_is_a_misuse(gateway):
    gateway("usage", "--by", "week", status=2)


async def admit(url, *, and_leave):
    """That many jobs, of which one is left open."""
    connection = Connection(url, "gateway", timeout_s=PATIENCE_S)
    jobs = RedisJobs(connection, "p")
    epoch = await jobs.epoch()
    for number in range(and_leave + 1):
        asked = entry(epoch, max_queued=50)
        await jobs.enter(asked)
        if number:
            await jobs.leave(leaving(asked.job_id))
    records = [record for _, record in await RedisOutbox(connection).read(100)]
    await connection.close()
    return records


async def keep(url, records):
    database = Database(url)
    await SqlLedger(database).insert(records)
    await database.close()


def test_reconcile_counts_open_unwritten_and_recorded_jobs_and_ends_with_status_0(gateway, valkey):
    gateway("tenant", "create", "acme")
    gateway.redis_url = valkey.url
    records = asyncio.run(admit(valkey.url, and_leave=4))
    asyncio.run(keep(gateway.url, records[:3]))
    valkey.client.xtrim("{gateway}:outbox", maxlen=1, approximate=False)
    found = gateway.json("usage", "reconcile")

    assert {
        name: found[name] for name in ("admitted", "recorded", "unwritten", "open", "difference", "unaccounted")
    } == {
        "admitted": 5,
        "recorded": 3,
        "unwritten": 1,
        "open": 1,
        "difference": 0,
        "unaccounted": 0,
    }


def test_reconcile_ends_with_status_1_when_a_record_is_missing(gateway, valkey):
    gateway("tenant", "create", "acme")
    gateway.redis_url = valkey.url
    asyncio.run(admit(valkey.url, and_leave=4))
    valkey.client.xtrim("{gateway}:outbox", maxlen=1, approximate=False)

    assert "difference   3" in gateway("usage", "reconcile", status=1)


def test_reconcile_without_a_store_says_what_to_do(gateway):
    assert "GATEWAY_REDIS_URL" in gateway("usage", "reconcile", status=1)
