from __future__ import annotations

import asyncio
import csv
import io
from dataclasses import replace

import pytest

from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.ledger import SqlLedger
from tests.contracts.sql.builders import RECORD

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


def test_json_and_csv_at_once_are_a_misuse(gateway):
    assert "Choose one" in gateway("usage", "--json", "--csv", status=2)


def test_an_unknown_grouping_is_a_misuse(gateway):
    gateway("usage", "--by", "week", status=2)
