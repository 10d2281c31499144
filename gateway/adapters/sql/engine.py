"""Connections to SQLite or PostgreSQL with the settings that make concurrent edits safe, and the one place where the
drivers' errors become ours.

SQLite with its defaults lost 49 of 50 concurrent edits in silence (measured): reads that lead to writes must begin
IMMEDIATE. So every writing transaction does, on the single writer connection of this process; readers have their own
connections, which refuse to write.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.domain.errors import InvalidRequest, StoreUnavailable
from gateway.ports.health import StoreHealth

_BUSY_MS = 10_000  # how long SQLite waits for another process's write
_CONNECT_S = 3.0
_STATEMENT_S = 10.0
_POOL_WAIT_S = 10.0
_READERS = 4
_POSTGRES_CONNECTIONS = 10
_OF_THE_DIALECT = {"prepared_statement_cache_size", "prepared_statement_name_func", "async_fallback"}
_SQLITE_DRIVER, _POSTGRES_DRIVER = "sqlite+aiosqlite", "postgresql+asyncpg"
_DRIVERS = MappingProxyType(
    {
        "sqlite": _SQLITE_DRIVER,
        _SQLITE_DRIVER: _SQLITE_DRIVER,
        "postgres": _POSTGRES_DRIVER,
        "postgresql": _POSTGRES_DRIVER,
        _POSTGRES_DRIVER: _POSTGRES_DRIVER,
    }
)


def parse_url(text: str) -> URL:
    """The address of the database for our drivers: `sqlite:///file.db` or `postgresql://user:password@host/name`.

    InvalidRequest if it is neither, or an in-memory SQLite (every connection would see another database). `sslmode`,
    which libpq knows and asyncpg does not, is passed on as asyncpg's `ssl`.
    """
    try:
        # Not make_url alone: it does not know "postgres://", which many hosts hand out.
        url = make_url(re.sub(r"^postgres://", "postgresql://", text))
    except (ArgumentError, ValueError) as error:
        raise InvalidRequest("The database address must look like sqlite:///file.db or postgresql://...") from error
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise InvalidRequest(f"A database of kind {url.drivername!r} is not supported; use sqlite or postgresql.")
    if driver == _SQLITE_DRIVER and (url.database in (None, "", ":memory:") or "mode" in url.query):
        raise InvalidRequest("SQLite needs a file to keep things in: sqlite:///relative.db or sqlite:////absolute.db.")
    if "sslmode" in url.query:
        mode = url.query["sslmode"]
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return url.set(drivername=driver)


def sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite database, None for PostgreSQL."""
    return Path(str(url.database)) if url.drivername == _SQLITE_DRIVER else None


def inserting(is_sqlite: bool) -> Any:  # noqa: ANN401 - both dialects' `insert` have the ON CONFLICT that each calls its own
    """The `insert` of one dialect, whose ON CONFLICT SQLAlchemy's own lacks; the other is not imported."""
    if is_sqlite:
        from sqlalchemy.dialects import sqlite

        return sqlite.insert
    from sqlalchemy.dialects import postgresql

    return postgresql.insert


class DatabaseFailed(StoreUnavailable):
    """The database could not be reached, or did not do it; the sentence says why and holds no address."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the drivers raise into DatabaseFailed; broken constraints pass, their meaning is the caller's."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        if is_full(error):
            raise StoreUnavailable("The database's disk is full; its operator must make room.") from error
        raise DatabaseFailed(f"The database did not do it: {_plain(error)}.") from error
    except Exception as error:
        # SQLAlchemyError: no connection of the pool became free. The others come from asyncpg while it connects.
        foreseen = (SQLAlchemyError, sqlite3.Error, OSError, *_of_asyncpg("PostgresError", "InterfaceError"))
        if not isinstance(error, foreseen):
            raise
        raise DatabaseFailed(f"The database cannot be reached: {_why_not(error)}.") from error


def _of_asyncpg(*names: str) -> tuple[type[Exception], ...]:
    """These errors of asyncpg; none as long as nothing has loaded it, which only a PostgreSQL's address does."""
    loaded = sys.modules.get("asyncpg.exceptions")
    return tuple(getattr(loaded, name) for name in names) if loaded else ()


def _why_not(error: Exception) -> str:
    match error:
        case socket.gaierror():
            return "the name of its host is not known"
        case TimeoutError():
            return "it gave no answer in time"
        case OSError() if error.errno:
            return os.strerror(error.errno).lower()
        case ConnectionError() if "SSL" in str(error):
            return "it speaks no TLS, which its address asks for"
        case sqlite3.Error():
            return str(error)
    return type(error).__name__


def is_full(error: DBAPIError) -> bool:
    """Whether there was no room on its disk: SQLSTATE 53100 of PostgreSQL, SQLite's own sentence."""
    return str(getattr(error.orig, "sqlstate", None) or "") == "53100" or "disk is full" in str(error.orig)


def refusal_of(error: BaseException) -> str:
    """Why the database refused what is in a statement, "" where it failed for another reason: away, full, busy.

    SQLSTATE class 22 is "data exception", 23 "integrity constraint violation" (PostgreSQL, appendix A).
    """
    cause = error if isinstance(error, DBAPIError) else error.__cause__
    if not isinstance(cause, DBAPIError):
        return ""
    state = str(getattr(cause.orig, "sqlstate", None) or "")
    is_refused = isinstance(cause, IntegrityError) or state[:2] in ("22", "23")
    # asyncpg itself refuses what it cannot encode; there is no SQLSTATE then.
    is_refused = is_refused or isinstance(getattr(cause.orig, "__cause__", None), _of_asyncpg("DataError"))
    return _plain(cause) if is_refused else ""


def _plain(error: DBAPIError) -> str:
    """The driver's own sentence without the statement and its values, which may hold digests."""
    text = str(error.orig).splitlines() or [type(error.orig).__name__]
    return re.sub(r"^<class '[^']*'>: ", "", text[0]).rstrip(".")


class Database:
    """Transactions on one database. Nothing is opened before the first one; `close` at the end.

    `observe` is told of each: `read` or `write`, and its seconds with the wait for a connection; `health` whether it
    was done.
    """

    def __init__(
        self, url: str, observe: Callable[[str, float], None] | None = None, health: StoreHealth | None = None
    ) -> None:
        self._observe = observe
        self._health = health
        parsed = parse_url(url)
        self.is_sqlite = sqlite_file(parsed) is not None
        if self.is_sqlite:
            self.writer, self.reader = sqlite_writer(parsed), sqlite_reader(parsed)
        else:
            self.writer = self.reader = postgres_engine(parsed, statement_s=_STATEMENT_S)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads. StoreUnavailable if the database cannot be reached."""
        with self._told(was_write=False), translated(), self._timed("read"):
            async with self.reader.begin() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is kept when the block ends, and undone when it raises or is cancelled."""
        with self._told(was_write=True), translated(), self._timed("write"):
            async with self.writer.begin() as connection:
                yield connection

    @contextmanager
    def _told(self, *, was_write: bool) -> Iterator[None]:
        """Tell those who watch the database how it went. What it refuses is no outage."""
        try:
            yield
        except StoreUnavailable as error:
            if self._health is not None and not refusal_of(error):
                self._health.failed("database", str(error), was_write=was_write)
            raise
        if self._health is not None:
            self._health.worked("database", was_write=was_write)

    @contextmanager
    def _timed(self, kind: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            if self._observe is not None:
                self._observe(kind, time.perf_counter() - began)

    async def close(self) -> None:
        """Close every connection."""
        await self.writer.dispose()
        await self.reader.dispose()


def postgres_engine(url: URL, statement_s: float | None) -> AsyncEngine:
    """A pool of connections to PostgreSQL; a statement that takes longer than `statement_s` seconds is given up.

    InvalidRequest if the address has a parameter that the driver does not know.
    """
    import asyncpg  # type: ignore[import-untyped]  # a tenth of a second, of use to nobody on SQLite

    unknown = url.query.keys() - inspect.signature(asyncpg.connect).parameters.keys() - _OF_THE_DIALECT
    if unknown:
        raise InvalidRequest(f"The database address has a parameter that is not known: {', '.join(sorted(unknown))}.")
    return create_async_engine(
        url,
        pool_size=_POSTGRES_CONNECTIONS,
        max_overflow=0,
        pool_timeout=_POOL_WAIT_S,
        pool_pre_ping=True,
        connect_args={"timeout": _CONNECT_S, "command_timeout": statement_s},
    )


def sqlite_writer(url: URL) -> AsyncEngine:
    """One connection to SQLite, whose transactions begin IMMEDIATE."""
    return _sqlite_engine(url, size=1, begin="BEGIN IMMEDIATE", pragmas=())


def sqlite_reader(url: URL) -> AsyncEngine:
    """A few connections to SQLite, which refuse to write."""
    return _sqlite_engine(url, size=_READERS, begin="BEGIN", pragmas=("query_only=ON",))


def _roll_back(connection: Any, _record: object, _error: object) -> None:  # noqa: ANN401 - as above
    """Give SQLite's lock back before a connection that was cancelled in a statement is closed.

    Closing alone does not: while anything still refers to the open statement, if only the traceback of the
    cancellation, SQLite keeps the closed connection and its lock (sqlite3_close_v2), and nobody could write.
    """
    # A second cancellation may end the waiting, not the rollback, which stands in the connection's queue by then. The
    # first one is on its way to the caller already; raising here would lose the pool's place for a connection.
    with suppress(asyncio.CancelledError, sqlite3.Error):
        connection.rollback()


def _sqlite_engine(url: URL, size: int, begin: str, pragmas: tuple[str, ...]) -> AsyncEngine:
    engine = create_async_engine(url, pool_size=size, max_overflow=0, pool_timeout=_POOL_WAIT_S)

    def set_up(connection: Any, _record: object) -> None:  # noqa: ANN401 - SQLAlchemy's wrapped DBAPI connection
        connection.isolation_level = None  # the driver must not begin transactions by itself: `begin_transaction` does
        cursor = connection.cursor()
        common = (f"busy_timeout={_BUSY_MS}", "synchronous=NORMAL", "foreign_keys=ON")
        for pragma in (*common, *pragmas):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "connect", set_up)
    event.listen(engine.sync_engine, "begin", begin_transaction)
    event.listen(engine.sync_engine, "invalidate", _roll_back)
    return engine
