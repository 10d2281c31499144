"""Databases for tests: each test runs on SQLite and on PostgreSQL, each time on one of its own."""

from __future__ import annotations

import asyncio
import itertools
import shutil

import asyncpg
import pytest

from gateway.adapters.sql.books import SqlBookkeeper
from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.keys import SqlKeyStore
from gateway.adapters.sql.ledger import SqlLedger
from gateway.adapters.sql.migrate import migrate
from tests.contracts.sql.postgres import postgres

__all__ = [
    "bookkeeper",
    "database",
    "empty_url",
    "key_store",
    "ledger",
    "migrated_file",
    "migrated_template",
    "new_url",
    "postgres",
    "url",
]

_NUMBERS = itertools.count()
_POSTGRES = pytest.param("postgres", marks=pytest.mark.xdist_group("postgres"))


@pytest.fixture(params=["sqlite", _POSTGRES])
def new_url(request, tmp_path):
    """Makes a database of the test's own, empty or a copy of a migrated one, and answers its address."""

    def make(*, is_migrated):
        if request.param == "sqlite":
            if is_migrated:
                shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "gateway.db")
            return f"sqlite:///{tmp_path}/gateway.db"
        server = request.getfixturevalue("postgres")
        template = request.getfixturevalue("migrated_template") if is_migrated else "template0"
        name = f"test_{next(_NUMBERS)}"
        asyncio.run(_create(server, name, template))
        return server.format(database=name)

    return make


@pytest.fixture
def empty_url(new_url):
    """The address of an empty database."""
    return new_url(is_migrated=False)


@pytest.fixture
def url(new_url):
    """The address of a database at the newest schema."""
    return new_url(is_migrated=True)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory):
    """A SQLite file at the newest schema, to be copied: migrating anew for each test takes most of its time."""
    file = tmp_path_factory.mktemp("template") / "gateway.db"
    asyncio.run(migrate(f"sqlite:///{file}"))
    return file


@pytest.fixture(scope="session")
def migrated_template(postgres):
    """The name of a PostgreSQL database at the newest schema, to be copied."""
    asyncio.run(_create(postgres, "migrated", "template0"))
    asyncio.run(migrate(postgres.format(database="migrated")))
    return "migrated"


@pytest.fixture
async def database(url):
    opened = Database(url)
    yield opened
    await opened.close()


@pytest.fixture
def bookkeeper(database):
    return SqlBookkeeper(database)


@pytest.fixture
def key_store(database):
    return SqlKeyStore(database)


@pytest.fixture
def ledger(database):
    return SqlLedger(database)


async def _create(server, name, template):
    connection = await asyncpg.connect(server.format(database="postgres"))
    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    finally:
        await connection.close()
