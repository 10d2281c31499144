from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from gateway.adapters.sql.engine import Database, parse_url
from gateway.adapters.sql.migrate import migrate
from gateway.domain.errors import InvalidRequest, StoreUnavailable
from tests.support.patience import PATIENCE_S


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("sqlite:///a.db", "sqlite+aiosqlite"),
        ("sqlite+aiosqlite:////srv/a.db", "sqlite+aiosqlite"),
        ("postgres://u:p@h/n", "postgresql+asyncpg"),
        ("postgresql://u:p@h/n", "postgresql+asyncpg"),
        ("postgresql+asyncpg://u:p@h/n", "postgresql+asyncpg"),
    ],
)
def test_an_address_gets_the_asynchronous_driver(given, driver):
    assert parse_url(given).drivername == driver


def test_an_address_of_libpq_keeps_its_demand_for_encryption():
    url = parse_url("postgres://u:p@h/n?sslmode=verify-full")

    assert dict(url.query) == {"ssl": "verify-full"}


@pytest.mark.parametrize(
    "given",
    ["", "gateway.db", "mysql://h/n", "sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"],
)
def test_an_address_that_cannot_work_is_refused_with_what_would(given):
    with pytest.raises(InvalidRequest, match="sqlite"):
        parse_url(given)


@pytest.fixture
async def sqlite(tmp_path):
    await migrate(f"sqlite:///{tmp_path}/a.db")
    database = Database(f"sqlite:///{tmp_path}/a.db")
    yield database
    await database.close()


async def test_a_reader_cannot_write_to_sqlite(sqlite):
    with pytest.raises(StoreUnavailable, match="readonly"):
        async with sqlite.reading() as connection:
            await connection.execute(text("CREATE TABLE t (x)"))


async def test_readers_do_not_wait_for_a_writer_in_sqlite(sqlite):
    async with asyncio.timeout(PATIENCE_S), sqlite.writing() as writer:
        await writer.execute(text("INSERT INTO meta VALUES ('a', 'b')"))
        async with sqlite.reading() as reader:
            assert (await reader.execute(text("SELECT count(*) FROM meta"))).scalar_one() == 0


async def test_every_sqlite_connection_has_the_settings_that_keep_data(sqlite):
    wanted = {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 10_000}

    for opened in (sqlite.reading, sqlite.writing):
        async with opened() as connection:
            found = {name: (await connection.execute(text(f"PRAGMA {name}"))).scalar_one() for name in wanted}
        assert found == wanted


@pytest.mark.parametrize(
    "address", ["postgresql://u:hidden@127.0.0.1:1/n", "postgresql://u:hidden@/n?host=/nonexistent-directory"]
)
async def test_a_server_that_is_not_there_is_a_store_that_is_unavailable(address):
    database = Database(address)

    with pytest.raises(StoreUnavailable) as caught:
        async with database.reading():
            pass

    assert "hidden" not in str(caught.value)
    await database.close()


async def test_a_wrong_user_is_a_store_that_is_unavailable(postgres):
    database = Database(postgres.format(database="postgres").replace("postgres@", "nobody-knows@"))

    with pytest.raises(StoreUnavailable):
        async with database.reading():
            pass

    await database.close()


async def test_what_the_database_says_is_told_without_the_statement_and_its_values(url, database):
    with pytest.raises(StoreUnavailable) as caught:
        async with database.reading() as connection:
            await connection.execute(text("SELECT x FROM nowhere WHERE y = :digest"), {"digest": "a-digest"})

    assert "nowhere" in str(caught.value)
    assert "a-digest" not in str(caught.value)
    assert "SELECT" not in str(caught.value)


class Health:
    def __init__(self):
        self.told = []

    def worked(self, store, *, was_write):
        self.told.append((store, "", was_write))

    def failed(self, store, reason, *, was_write):
        self.told.append((store, reason, was_write))


async def write(database, *statements):
    async with database.writing() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def test_a_full_disk_is_named_as_such_and_reading_goes_on(tmp_path):
    url, health = f"sqlite:///{tmp_path}/a.db", Health()
    await migrate(url)
    database = Database(url, health=health)
    try:
        async with database.writing() as connection:  # as full as a disk can be: not a page more
            await connection.execute(text("PRAGMA max_page_count = 1"))
        with pytest.raises(StoreUnavailable, match="disk is full"):
            await write(database, "CREATE TABLE more (a TEXT)", "INSERT INTO more VALUES (zeroblob(1000000))")
        async with database.reading() as connection:
            await connection.execute(text("SELECT 1"))
    finally:
        await database.close()
    full = "The database's disk is full; its operator must make room."
    assert health.told == [("database", "", True), ("database", full, True), ("database", "", False)]


async def test_what_a_database_refuses_is_no_outage(tmp_path):
    url, health = f"sqlite:///{tmp_path}/a.db", Health()
    await migrate(url)
    database = Database(url, health=health)
    try:
        with pytest.raises(IntegrityError):
            await write(database, "CREATE TABLE one (a TEXT NOT NULL)", "INSERT INTO one VALUES (NULL)")
    finally:
        await database.close()
    assert health.told == []
