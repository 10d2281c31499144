from __future__ import annotations

import asyncio
import fcntl
import stat
from dataclasses import asdict

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.migrate import migrate
from gateway.adapters.sql.schema import Schema, check_schema
from gateway.adapters.sql.tables import METADATA
from gateway.domain.errors import StoreUnavailable
from gateway.domain.managed import KeptPlan
from gateway.domain.plans import Plan


async def test_an_empty_database_is_brought_to_the_newest_schema_and_the_second_time_nothing_is_done(empty_url):
    assert await check_schema(empty_url) == Schema(current="", newest="0002")
    assert await migrate(empty_url) == Schema(current="", newest="0002")
    assert await migrate(empty_url) == Schema(current="0002", newest="0002")
    assert (await check_schema(empty_url)).is_newest


async def test_the_migrations_make_exactly_the_tables_that_the_code_uses(url, database):
    def differences(connection):
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, METADATA)

    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []


async def test_the_standard_plan_of_a_new_database_is_the_plan_that_the_domain_calls_standard(bookkeeper):
    async with bookkeeper.reading() as books:
        [kept] = await books.all(KeptPlan)

    assert asdict(kept.plan) == asdict(Plan())


async def test_plans_of_an_older_database_keep_no_call_alive(url, database, bookkeeper):
    async with database.writing() as connection:
        await connection.execute(text("ALTER TABLE plans DROP COLUMN keep_alive_s"))
        await connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))

    assert await migrate(url) == Schema(current="0001", newest="0002")

    async with bookkeeper.reading() as books:
        [kept] = await books.all(KeptPlan)
    assert asdict(kept.plan) == asdict(Plan())


async def test_a_database_from_a_newer_gateway_is_refused_and_left_alone(url, database):
    async with database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(StoreUnavailable, match="newer one was here"):
        await migrate(url)

    assert (await check_schema(url)).current == "9999"


async def test_a_migration_that_fails_half_way_leaves_the_database_as_it_was(empty_url):
    # A table of that name is in the way of the step's sixth statement.
    database = Database(empty_url)
    async with database.writing() as connection:
        await connection.execute(text("CREATE TABLE ledger (x INTEGER)"))

    with pytest.raises(StoreUnavailable):
        await migrate(empty_url)

    async with database.writing() as connection:
        await connection.execute(text("DROP TABLE ledger"))
    await database.close()
    assert (await migrate(empty_url)).current == ""


async def test_a_sqlite_file_and_what_lies_beside_it_is_for_its_owner_only(tmp_path):
    url = f"sqlite:///{tmp_path}/new-directory/gateway.db"

    await migrate(url)
    database = Database(url)
    async with database.writing() as connection:
        await connection.execute(text("INSERT INTO meta VALUES ('a', 'b')"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "new-directory").iterdir()}
    await database.close()

    assert set(modes) >= {"gateway.db", "gateway.db-wal"}
    assert set(modes.values()) == {0o600}


async def test_a_migration_of_sqlite_waits_while_another_process_migrates(tmp_path):
    # Without the lock about 1 of 100 processes that switch a new file to WAL together is told "database is locked".
    url = f"sqlite:///{tmp_path}/gateway.db"
    with (tmp_path / "gateway.db.lock").open("w") as another:
        fcntl.flock(another, fcntl.LOCK_EX)
        migration = asyncio.ensure_future(migrate(url))
        done, _ = await asyncio.wait({migration}, timeout=0.3)
        assert not done
        assert not (await check_schema(url)).current

    assert (await migration).current == ""
    assert (await check_schema(url)).is_newest


async def test_a_percent_sign_or_a_space_in_the_path_of_the_file_does_no_harm(tmp_path):
    url = f"sqlite:///{tmp_path}/50%25 of it.db"

    await migrate(url)

    assert (await check_schema(url)).is_newest


async def test_a_directory_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailable):
        await migrate(f"sqlite:///{tmp_path}/file/gateway.db")
