"""What must hold on every database: nothing is lost, whoever writes at the same time and whatever is cut off."""

from __future__ import annotations

import asyncio
import secrets
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import event

from gateway.adapters.sql.books import SqlBookkeeper
from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.ledger import SqlLedger
from gateway.adapters.sql.migrate import migrate
from gateway.adapters.sql.schema import check_schema
from gateway.domain.errors import StoreUnavailable
from gateway.domain.keys import Grants, Names
from gateway.domain.managed import EditConflict, Key, Tenant
from gateway.flow.credentials import KeyRequest
from gateway.flow.manage import Manager
from tests.contracts.sql.builders import ACME, SECRET, keep, the
from tests.contracts.sql.postgres import running_postgres
from tests.flow.management import ALICE, RecordingAnnouncer
from tests.support.patience import PATIENCE_S

_STEPS_UP = """
import asyncio, sys
from gateway.adapters.sql.books import SqlBookkeeper
from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.migrate import migrate
from gateway.domain.errors import StoreUnavailable
from gateway.domain.keys import Grants, Names
from gateway.domain.managed import Tenant

async def main(url, edits):
    await migrate(url)
    database = Database(url)
    for _ in range(edits):
        async with SqlBookkeeper(database).writing() as books:
            found = await books.find(Tenant, "shared")
            if found:
                await books.save(found[0])
            else:
                await books.claim("race", "on")
    await database.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def run_process(url, edits):
    """The exit status and the error output of a process that migrates the database and edits the tenant."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", _STEPS_UP, url, str(edits), stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE_S):
        _, problems = await process.communicate()
    return process.returncode, problems


async def edit_once(bookkeeper):
    async with bookkeeper.writing() as books:
        [tenant] = await books.find(Tenant, ACME.id)
        await books.save(replace(tenant, created_at=tenant.created_at + 1.0))


async def test_fifty_edits_at_once_are_all_kept(bookkeeper):
    await keep(bookkeeper, ACME)

    await asyncio.gather(*(edit_once(bookkeeper) for _ in range(50)))

    assert await the(bookkeeper, ACME) == replace(ACME, created_at=150.0, version=51)


async def test_fifty_edits_based_on_the_same_version_are_one_edit_and_forty_nine_conflicts(bookkeeper):
    await keep(bookkeeper, ACME)

    async def edit_what_was_read_before(number):
        async with bookkeeper.writing() as books:
            return await books.save(replace(ACME, created_at=float(number)))

    answers = await asyncio.gather(*(edit_what_was_read_before(n) for n in range(50)), return_exceptions=True)

    kept = [answer for answer in answers if isinstance(answer, Tenant)]
    assert [type(answer) for answer in answers if answer not in kept] == [EditConflict] * 49
    assert kept == [await the(bookkeeper, ACME)]


async def test_edits_from_several_processes_at_once_are_all_kept(url, bookkeeper):
    await keep(bookkeeper, replace(ACME, name="shared"))

    assert await asyncio.gather(*(run_process(url, edits=10) for _ in range(3))) == [(0, b"")] * 3

    assert (await the(bookkeeper, ACME)).version == 31


async def test_an_empty_database_is_migrated_once_by_several_processes_that_start_together(empty_url):
    assert await asyncio.gather(*(run_process(empty_url, edits=1) for _ in range(3))) == [(0, b"")] * 3

    assert (await check_schema(empty_url)).is_newest


async def test_of_migrations_at_once_only_one_finds_an_empty_database(empty_url):
    before = await asyncio.gather(*(migrate(empty_url) for _ in range(4)))

    assert sorted(schema.current for schema in before) == ["", "0002", "0002", "0002"]


async def test_a_change_that_raises_leaves_nothing_behind(bookkeeper):
    class Nevermind(Exception):
        pass

    async def change_and_raise():
        async with bookkeeper.writing() as books:
            await books.add(ACME)
            raise Nevermind

    with pytest.raises(Nevermind):
        await change_and_raise()

    async with bookkeeper.reading() as books:
        assert await books.all(Tenant) == []


async def test_changes_from_many_processes_at_once_are_all_kept(several_managers):
    await several_managers[0].create_tenant(ALICE, "acme")

    def one_more(before):
        return {"grants": Grants(models=Names((*before.grants.models.allow, f"model {before.version}")))}

    async def change_ten_times(manager):
        for _ in range(10):
            await manager.change(ALICE, (Tenant, "acme"), one_more)

    await asyncio.gather(*map(change_ten_times, several_managers))

    allowed = (await several_managers[0].show(Tenant, "acme")).grants.models.allow
    assert allowed == ("*", *(f"model {number}" for number in range(1, 41)))


@pytest.mark.xdist_group("postgres")
async def test_a_postgresql_that_was_away_serves_again_at_the_first_call_after_it_came_back():
    with running_postgres() as server:
        url = server.address.format(database="postgres")
        await migrate(url)
        database = Database(url)
        bookkeeper = SqlBookkeeper(database)
        await keep(bookkeeper, ACME)

        server.stop()
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await the(bookkeeper, ACME)
        server.start()

        assert await the(bookkeeper, ACME) == ACME

        # Unnoticed: every connection of the pool is dead, and nobody has found out yet.
        server.stop()
        server.start()
        assert await the(bookkeeper, ACME) == ACME
        await database.close()


async def test_of_many_first_runs_at_once_one_makes_the_credentials(several_managers):
    answers = await asyncio.gather(*(manager.credentials.first_run(ALICE) for manager in several_managers))

    assert sum(answer is not None for answer in answers) == 1
    assert len(await several_managers[0].all_of(Tenant)) == 1


async def test_a_key_of_the_configuration_asked_for_by_many_processes_at_once_is_made_once(several_managers):
    request = KeyRequest("demo", "demo", secret=SECRET)

    keys = await asyncio.gather(*(manager.credentials.ensure_key(ALICE, request) for manager in several_managers))

    assert keys == [keys[0]] * len(several_managers)
    assert await several_managers[0].all_of(Key) == [keys[0]]


async def test_the_deployment_has_one_id_however_many_processes_ask_first(several_managers):
    ids = await asyncio.gather(*(manager.deployment_id() for manager in several_managers))

    assert len(set(ids)) == 1


@pytest.fixture
async def several_managers(url):
    """As in several processes: each with connections of its own."""
    databases = [Database(url) for _ in range(4)]
    yield [
        Manager(SqlBookkeeper(database), SqlLedger(database), RecordingAnnouncer(), secrets.token_bytes)
        for database in databases
    ]
    for database in databases:
        await database.close()


@pytest.mark.parametrize("moment", ["first statement", "second statement", "commit", "after"])
async def test_an_edit_that_is_cancelled_anywhere_is_whole_or_absent_and_blocks_nobody(bookkeeper, database, moment):
    await keep(bookkeeper, ACME)

    edit = asyncio.ensure_future(edit_once(bookkeeper))
    with cancelling(edit, database, moment):
        [ended] = await asyncio.gather(edit, return_exceptions=True)

    # The cancelled transaction must not keep SQLite's only writer, nor PostgreSQL's lock on the row.
    async with asyncio.timeout(PATIENCE_S):
        after = await the(bookkeeper, ACME)
        await edit_once(bookkeeper)
        assert (await the(bookkeeper, ACME)).version == after.version + 1
    assert isinstance(ended, asyncio.CancelledError) == (moment != "after")
    whole, absent = (101.0, 2), (100.0, 1)
    # Cancelled while the commit is on its way it may have arrived; before that it must not.
    possible = {"commit": [whole, absent], "after": [whole]}.get(moment, [absent])
    assert (after.created_at, after.version) in possible


@contextmanager
def cancelling(edit, database, moment):
    """Cancels the edit when it comes to that moment."""
    seen = []

    def on_statement(_connection, _cursor, statement, *_rest):
        if not statement.startswith("BEGIN"):
            seen.append(statement)
            if moment == ["first statement", "second statement"][len(seen) - 1]:
                edit.cancel()

    def on_commit(_connection):
        if moment == "commit":
            edit.cancel()

    engine = database.writer.sync_engine
    event.listen(engine, "before_cursor_execute", on_statement)
    event.listen(engine, "commit", on_commit)
    yield
    event.remove(engine, "before_cursor_execute", on_statement)
    event.remove(engine, "commit", on_commit)
