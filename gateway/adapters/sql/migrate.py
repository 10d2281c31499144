"""Bringing a database to the newest schema, once, however many processes start at the same time.

Whoever comes second waits for the lock and then finds nothing to do. The lock is PostgreSQL's own advisory lock, or for
SQLite a file beside the database: switching a new file to WAL is refused at once, not after the busy time-out, when two
processes try it together.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.adapters.sql.engine import (
    parse_url,
    postgres_engine,
    sqlite_file,
    sqlite_writer,
    translated,
)
from gateway.adapters.sql.schema import Schema
from gateway.domain.errors import StoreUnavailable

_LOCK_WAIT_S = 120.0
_LOCK_LOOK_S = 0.05
_ADVISORY_LOCK = 0x5D_4E_87_01  # any number no other program takes in this database


async def migrate(url: str) -> Schema:
    """Bring the database to the newest schema and answer what it was at before.

    StoreUnavailable if it cannot be reached, is held by another migration for two minutes, or is at a revision this
    gateway does not know (a newer gateway was here: start that one, or restore a backup). Nothing is half done.
    """
    parsed = parse_url(url)
    file = sqlite_file(parsed)
    if file is None:
        return await _migrated(
            postgres_engine(parsed, statement_s=None), lock=f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"
        )
    with translated():
        _make_private(file)
    async with _file_lock(file.with_name(file.name + ".lock")):
        await asyncio.to_thread(_write_ahead, file)
        return await _migrated(sqlite_writer(parsed), lock="")


async def _migrated(engine: AsyncEngine, lock: str) -> Schema:
    try:
        with translated():
            async with engine.begin() as connection:
                if lock:
                    await connection.execute(text(lock))
                return await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> Schema:
    scripts = _scripts()
    before = Schema(current=_current(connection), newest=scripts.get_current_head() or "")

    def steps(revision: Any, _context: object) -> Any:  # noqa: ANN401 - Alembic's own types
        # What `alembic upgrade head` calls; its public way is a file that acts when it is imported.
        return scripts._upgrade_revs("head", revision)  # noqa: SLF001

    context = MigrationContext.configure(connection, opts={"fn": steps})
    try:
        with Operations.context(context):
            context.run_migrations()
    except CommandError as error:
        raise StoreUnavailable(
            f'The database is at revision "{before.current}", which this gateway does not know: a newer one was here.'
            " Start that version, or restore the database from before it."
        ) from error
    return before


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).with_name("migrations")))


def _current(connection: Connection) -> str:
    return MigrationContext.configure(connection).get_current_revision() or ""


def _make_private(file: Path) -> None:
    """The file holds the backends' passwords: only its owner may read it. SQLite's other files take over its mode."""
    file.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))


def _write_ahead(file: Path) -> None:
    """Switch the file to WAL, which stays in the file, so that readers never wait for a writer."""
    with translated(), closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


@asynccontextmanager
async def _file_lock(path: Path) -> AsyncIterator[None]:
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            async with asyncio.timeout(_LOCK_WAIT_S):
                while not _is_locked_by_us(handle):  # noqa: ASYNC110 - other processes set no event here
                    await asyncio.sleep(_LOCK_LOOK_S)
        except TimeoutError as error:
            raise StoreUnavailable("Another process has been migrating the database for two minutes.") from error
        yield
    finally:
        os.close(handle)  # which gives the lock back


def _is_locked_by_us(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
