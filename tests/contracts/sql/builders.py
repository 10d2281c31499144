"""Managed values for tests: complete, and different only where a test says so."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import event

from gateway.domain.jobs import Operation, Outcome
from gateway.domain.keys import digest_of, prefix_of
from gateway.domain.managed import Key, Tenant
from gateway.domain.usage import Record

SECRET = "sk-a-secret-of-the-tests"  # noqa: S105 - of no use elsewhere
ACME = Tenant("t_acme", "acme", created_at=100.0)
KEY = Key("k_first", ACME.id, "first", digest_of(SECRET), prefix_of(SECRET), created_at=100.0)
RECORD = Record(
    job_id="job-1",
    tenant_id=ACME.id,
    key_id=KEY.id,
    operation=Operation.TXT2IMG,
    outcome=Outcome.FINISHED,
    model="aurora-xl",
    backend="gpu-1",
    entered_at=1_000_000.0,
    started_at=1_000_002.0,
    ended_at=1_000_010.0,
    swap_s=1.5,
    generation_s=6.5,
    gpu_seconds=6.5,
    images=2,
    megapixel_steps=40.0,
    steps=20,
    width=1024,
    height=1024,
    bytes_in=500,
    bytes_out=2_000_000,
    attempts=1,
)


async def keep(bookkeeper, *things):
    """Keep these things, in order."""
    async with bookkeeper.writing() as books:
        for thing in things:
            await books.add(thing)


async def the(bookkeeper, thing):
    """The thing as it is kept now."""
    async with bookkeeper.reading() as books:
        [found] = await books.find(type(thing), thing.id)
    return found


def another_key(number, **changes):
    secret = f"sk-another-secret-{number:08}"
    return replace(
        KEY, id=f"k_{number}", name=f"key {number}", digest=digest_of(secret), prefix=prefix_of(secret), **changes
    )


@contextmanager
def statements_on(database):
    """Every SQL statement that is sent to the database while the block runs, without BEGIN and COMMIT."""
    seen = []

    def note(_connection, _cursor, statement, *_rest):
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    engines = {database.reader.sync_engine, database.writer.sync_engine}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield seen
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)
