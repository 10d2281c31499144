"""Which schema a database is at, without what brings it to another one: commands ask this at every start of theirs."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, inspect, text

from gateway.adapters.sql.engine import parse_url, postgres_engine, sqlite_file, sqlite_reader, translated

NEWEST = "0002"
"""The newest revision in `migrations/versions`; a test holds it to them."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The revision a database is at ("" for an empty one) and the newest one this gateway knows."""

    current: str
    newest: str

    @property
    def is_newest(self) -> bool:
        """Whether there is nothing to migrate."""
        return self.current == self.newest


async def check_schema(url: str) -> Schema:
    """The database's schema against the newest one; changes nothing. StoreUnavailable if it cannot be reached."""
    parsed = parse_url(url)
    file = sqlite_file(parsed)
    with translated():
        if file is not None and not file.exists():
            return Schema(current="", newest=NEWEST)
        engine = postgres_engine(parsed, statement_s=None) if file is None else sqlite_reader(parsed)
        try:
            async with engine.connect() as connection:
                return Schema(current=await connection.run_sync(_current), newest=NEWEST)
        finally:
            await engine.dispose()


def _current(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")
