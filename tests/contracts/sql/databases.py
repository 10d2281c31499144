"""Databases for tests: each test runs on SQLite and on PostgreSQL, each time on one of its own."""

from __future__ import annotations

import asyncio
import itertools

import asyncpg
import pytest

from gateway.adapters.sql.books import SqlBookkeeper
from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.keys import SqlKeyStore
from gateway.adapters.sql.ledger import SqlLedger
from gateway.adapters.sql.migrate import migrate
from tests.contracts.sql.postgres import postgres

__all__ = ["bookkeeper", "database", "empty_url", "key_store", "ledger", "postgres", "url"]

_NUMBERS = itertools.count()
_POSTGRES = pytest.param("postgres", marks=pytest.mark.xdist_group("postgres"))


@pytest.fixture(params=["sqlite", _POSTGRES])
def empty_url(request, tmp_path):
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/gateway.db"
    server = request.getfixturevalue("postgres")
    name = f"test_{next(_NUMBERS)}"
    asyncio.run(_create(server.format(database="postgres"), name))
    return server.format(database=name)


@pytest.fixture
async def url(empty_url):
    """The address of a database at the newest schema."""
    await migrate(empty_url)
    return empty_url


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


async def _create(server, name):
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f'CREATE DATABASE "{name}" STRATEGY FILE_COPY')
    finally:
        await connection.close()
