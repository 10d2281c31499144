from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from types import SimpleNamespace

import pytest

from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.ledger import SqlLedger
from gateway.wiring.desk import open_outbox
from tests.cli.conftest import CommandLine
from tests.contracts.sql.builders import RECORD

DAY = 86_400.0


@pytest.fixture
def nowhere(tmp_path):
    """The command line where nothing was started yet."""
    return CommandLine(f"sqlite:///{tmp_path}/data/gateway.db")


def test_a_database_is_checked_upgraded_and_checked_again(nowhere, tmp_path):
    assert "Run gateway db upgrade." in nowhere("db", "check", status=1)
    assert list(tmp_path.iterdir()) == []
    assert nowhere.json("db", "upgrade") == {"current": "", "newest": "0002", "is_newest": False}
    assert nowhere.json("db", "check") == {"current": "0002", "newest": "0002", "is_newest": True}
    assert "newest schema already" in nowhere("db", "upgrade")


@pytest.mark.parametrize("words", ["tenant list", "tenant create acme", "backend list", "usage", "key list"])
def test_a_command_where_no_gateway_was_started_makes_no_database_and_says_so(words, nowhere, tmp_path):
    assert "No gateway was started here yet" in nowhere(*words.split(), status=1)
    assert list(tmp_path.iterdir()) == []


def test_other_commands_leave_a_database_at_another_schema_alone(gateway):
    gateway("db", "upgrade")
    with sqlite3.connect(gateway.url.removeprefix("sqlite:///")) as database:
        database.execute("UPDATE alembic_version SET version_num = '0000'")
    database.close()

    assert "gateway db upgrade" in gateway("tenant", "list", status=1)
    assert "does not know" in gateway("db", "upgrade", status=1)


def test_a_database_that_cannot_be_reached_is_told_in_one_sentence(gateway):
    gateway.url = "postgresql://u:hidden@127.0.0.1:1/n"

    told = gateway("db", "check", status=1)

    assert told.startswith("gateway: The database cannot be reached")
    assert "hidden" not in told


def test_records_that_were_set_aside_are_shown_and_sent_again(gateway, valkey):
    gateway.redis_url = valkey.url
    assert gateway.json("db", "aside") == []
    valkey.client.xadd("{gateway}:outbox", {"job": "j1", "entered": "1"}, id="5-0")

    async def set_aside():
        async with open_outbox(
            SimpleNamespace(redis_url=valkey.url, namespace="gateway", sql_url=gateway.url)
        ) as outbox:
            await outbox.set_aside("5-0", "it is refused")

    asyncio.run(set_aside())

    assert gateway.json("db", "aside") == [{"token": "5-0", "reason": "it is refused"}]
    assert "1 records are to be written again" in gateway("db", "aside", "--again")
    assert gateway.json("db", "aside") == []
    assert [fields for _, fields in valkey.client.xrange("{gateway}:outbox")] == [{"job": "j1", "entered": "1"}]


def test_without_a_running_gateway_there_is_nothing_to_ask_for_records(gateway):
    assert "No gateway runs here" in gateway("db", "aside", status=1)


def test_old_records_and_entries_are_counted_and_then_forgotten(gateway):
    gateway("tenant", "create", "acme")  # one audit entry, at the gateway's time

    async def insert():
        database = Database(gateway.url)
        entered = {"old": gateway.now - 100 * DAY, "new": gateway.now}
        await SqlLedger(database).insert([replace(RECORD, job_id=job, entered_at=at) for job, at in entered.items()])
        await database.close()

    asyncio.run(insert())
    gateway.now += 60 * DAY

    told = "2 ledger records and 1 audit entries"
    assert f"{told} would be forgotten." in gateway("db", "prune", "--before", "59d", "--dry-run")
    assert gateway.json("db", "prune", "--before", "2027-02-01", "--only", "ledger") == {"records": 2, "entries": 0}
    assert "0 ledger records and 1 audit entries forgotten." in gateway("db", "prune", "--before", "59d")
    assert "latest date" in gateway("db", "prune", "--before", "0d", status=2)
    gateway("db", "prune", status=2)
