"""A manager on a real database, with an announcer that remembers and can fail."""

from __future__ import annotations

import hashlib
import itertools
from contextlib import asynccontextmanager

from gateway.adapters.sql.books import SqlBookkeeper
from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.keys import SqlKeyStore
from gateway.adapters.sql.ledger import SqlLedger
from gateway.adapters.sql.migrate import migrate
from gateway.domain.errors import StoreUnavailable
from gateway.flow.changes import Author
from gateway.flow.manage import Manager

ALICE = Author("alice", 1000.0)


class RecordingAnnouncer:
    """Counts announcements; while `is_down` they fail as they do without Redis."""

    def __init__(self):
        self.count = 0
        self.is_down = False

    async def keys_changed(self):
        if self.is_down:
            raise StoreUnavailable("Redis is down.")
        self.count += 1


class Office:
    """Everything a test of management needs."""

    def __init__(self, database):
        numbers = itertools.count()
        self.announcer = RecordingAnnouncer()
        self.bookkeeper = SqlBookkeeper(database)
        self.key_store = SqlKeyStore(database)
        self.manager = Manager(
            self.bookkeeper,
            SqlLedger(database),
            self.announcer,
            lambda count: hashlib.sha256(str(next(numbers)).encode()).digest()[:count],
        )
        self.credentials = self.manager.credentials


@asynccontextmanager
async def open_office(directory):
    """An office on an empty database in that directory."""
    url = f"sqlite:///{directory}/gateway.db"
    await migrate(url)
    database = Database(url)
    try:
        yield Office(database)
    finally:
        await database.close()
