"""The queue on the command line, from a real store."""

from __future__ import annotations

import asyncio

import pytest

from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.jobs import RedisJobs
from gateway.adapters.redis.pool import RedisPool
from gateway.domain.scheduling import Forecast, Prospect, Ticket
from gateway.flow.dispatch import ticket_bytes
from tests.contracts.job_worlds import Process, entry, granted, pool_up, queued
from tests.support.patience import PATIENCE_S


def ticket(job_id, *backends):
    return ticket_bytes(Ticket(job_id, "t", "n", frozenset(backends), 0.0))


@pytest.fixture
def shop(gateway, valkey):
    """One job runs on `a`, one waits for it, and one waits that no backend can run."""
    gateway("tenant", "create", "acme")
    gateway.redis_url = valkey.url

    async def fill():
        connection = Connection(valkey.url, "gateway", timeout_s=PATIENCE_S)
        process = Process("p", RedisJobs(connection, "p"), RedisPool(connection, "p"), None)
        epoch = await pool_up(process, "a")
        runs, waits = entry(epoch), entry(epoch, checkpoint="n", ticket=ticket("x", "a"))
        await granted(process.jobs, runs)
        await queued(process.jobs, waits)
        await queued(process.jobs, entry(epoch, checkpoint="n", ticket=ticket("y")))
        await connection.close()
        return runs.job_id, waits.job_id

    return asyncio.run(fill())


def test_the_queue_lists_backends_and_waiting_jobs_with_what_keeps_them(gateway, shop):
    runs, waits = shop
    backends, waiting = gateway("queue").split("\n\n")

    assert backends.splitlines()[1].split()[:5] == ["a", "up", "m", runs, "t"]
    assert [line.split()[:4] for line in waiting.splitlines()[1:2]] == [["1", waits, "t", "n"]]
    assert waiting.splitlines()[1].endswith("a: busy")
    assert waiting.splitlines()[2].endswith("no backend has all of it")


def test_the_queue_as_json_is_the_same_whole(gateway, shop):
    view = gateway.json("queue")

    first = view["waiting"][0]
    assert (first["job_id"], first["reasons"]) == (shop[1], {"a": "busy"})
    assert view["backends"][0]["job_id"] == shop[0]


def test_an_empty_queue_says_so(gateway, valkey):
    gateway("tenant", "create", "acme")
    gateway.redis_url = valkey.url

    assert gateway("queue").endswith("Nobody waits.\n")


def test_a_waiting_job_shows_when_it_should_start_how_many_go_before_it_and_why_it_waits(gateway, valkey, shop):
    async def foretell():
        connection = Connection(valkey.url, "gateway", timeout_s=PATIENCE_S)
        pool = RedisPool(connection, "p")
        at = (await pool.poll(from_scratch=True)).at
        prospect = Prospect(3, at + 40.0, "1 runs another job")
        assert await pool.foretell(Forecast({shop[1]: prospect}, {}, {}))
        await connection.close()

    asyncio.run(foretell())
    first, second = gateway.json("queue")["waiting"]
    assert 0.0 < first["starts_in_s"] <= 40.0
    assert (first["ahead"], first["why"], second["starts_in_s"]) == (2, "1 runs another job", None)
    assert gateway("queue").split("\n\n")[1].splitlines()[1].endswith("1 runs another job")
    shown = gateway.json("job", shop[1])["job"]
    assert (shown["state"], shown["ahead"], shown["why"]) == ("waiting", 2, "1 runs another job")
    assert shown["starts_at"] > shown["entered_at"]
    assert "None" not in gateway("job", shop[0])
