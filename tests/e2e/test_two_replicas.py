"""A whole gateway as operators run it: two replicas on PostgreSQL and a shared Valkey, restarted under load."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import threading
import urllib.error
import urllib.request
from collections import Counter

import asyncpg
import pytest

from gateway.domain.managed import Tenant
from gateway.flow.credentials import KeyRequest
from gateway.settings import Settings
from gateway.wiring.desk import open_management
from tests.contracts.sql.postgres import postgres
from tests.support.patience import PATIENCE_S, STORE_TIMEOUT_S
from tests.support.pools import AUTHOR, KEY, SMALL, Pool
from tests.support.processes import wait_until
from tests.support.proxies import haproxy

__all__ = ["postgres"]

pytestmark = pytest.mark.xdist_group("postgres")
FAST = {"seconds_per_megapixel_step": "0.01", "swap_seconds": "0.05"}
_NUMBERS = itertools.count()
CALLERS = 4
UNLIMITED = "sk-many-0123456789abcdefghij"


@pytest.fixture
def database_url(postgres):
    """An empty database of the test's own."""
    name = f"replicas_{next(_NUMBERS)}"
    asyncio.run(fetch(postgres.format(database="postgres"), f'CREATE DATABASE "{name}"'))
    return postgres.format(database=name)


async def fetch(url, query):
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


class Replicas:
    """Two gateways on one database, and callers who do what a balancer does: they go where /readyz is 200."""

    def __init__(self, pool: Pool, database_url: str):
        declared = [{"name": sim.name, "url": sim.url} for sim in pool.sims.values()]
        self._pool = pool
        self._settings = {
            "database_url": database_url,
            "redis_url": pool.valkey.url,
            "backends": json.dumps(declared),
            "first_key": KEY,
            "drain_delay_s": "3",
            "grace_s": "60",
        }
        # Both at once, on an empty database: one of them makes the tables.
        self.all = [self._start() for _ in range(2)]
        for one in self.all:
            one.wait_until_ready()
        settings = Settings(
            data_dir=pool.gateways.home,
            database_url=database_url,
            redis_url=pool.valkey.url,
            store_timeout_s=STORE_TIMEOUT_S,
        )
        asyncio.run(add_key_without_limits(settings))
        self.answers = Counter()
        self.balancer = None
        self._stop, self._turn = threading.Event(), itertools.count()

    def _start(self, port=None):
        return self._pool.gateways.start("serve", port=port, **self._settings)

    def restart(self, number):
        """End one with SIGTERM and start it anew; its exit status."""
        before = self.all[number]
        before.process.send_signal(signal.SIGTERM)
        status = before.ended()
        self.all[number] = self._start(port=before.port)
        self.all[number].wait_until_ready()
        return status

    def post(self, port, key=UNLIMITED):
        """Status of one call to that port, with the number of pictures or the error."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/sdapi/v1/txt2img",
            json.dumps({**SMALL, "sd_model_checkpoint": "red"}).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310 - as above
                return answer.status, len(json.loads(answer.read())["images"])
        except urllib.error.HTTPError as refused:
            return refused.code, json.loads(refused.read())["error"]

    def ready_port(self):
        """The next replica whose /readyz is 200, or the balancer's port where there is one; None if it is not ready."""
        if self.balancer is not None:
            return self.balancer
        replica = self.all[next(self._turn) % 2]
        try:
            return replica.port if replica.get("/readyz")[0] == 200 else None
        except OSError:
            return None  # it is being started

    def call_for_ever(self):
        while not self._stop.is_set():
            port = self.ready_port()
            if port is None:
                continue
            try:
                self.answers[self.post(port)] += 1
            except OSError as lost:
                self.answers[type(lost).__name__] += 1

    def under_load(self, work):
        """What `work` gives while callers call; they were served before it began and are served after it."""
        callers = [threading.Thread(target=self.call_for_ever, daemon=True) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        try:
            wait_until(lambda: self.answers.total() >= CALLERS, "callers are served")
            result = work()
            served = self.answers.total()
            wait_until(lambda: self.answers.total() >= served + CALLERS, "callers are served afterwards")
        finally:
            self._stop.set()
            for caller in callers:
                caller.join(PATIENCE_S)
        return result


async def add_key_without_limits(settings):
    async with open_management(settings) as manager:
        await manager.credentials.ensure_key(AUTHOR, KeyRequest("many", "test", secret=UNLIMITED))
        await manager.create_plan(AUTHOR, "unlimited", {"requests_per_minute": 1_000_000, "burst": 1_000_000})
        await manager.change(AUTHOR, (Tenant, "many"), {"plan": "unlimited"})


async def ledger_of(url):
    return Counter(row[0] for row in await fetch(url, "SELECT outcome FROM ledger"))


@pytest.fixture
def replicas(pool, database_url):
    pool.add_sim("one", "red,blue", **FAST)
    pool.add_sim("two", "red", **FAST)
    for sim in pool.sims.values():
        wait_until(sim.is_up, f"{sim.name} is up")
    return Replicas(pool, database_url)


def test_a_rolling_restart_of_two_replicas_on_postgresql_loses_no_call_and_no_record(replicas, database_url):
    statuses = replicas.under_load(lambda: [replicas.restart(0), replicas.restart(1)])
    assert statuses == [0, 0]
    assert replicas.answers.keys() == {(200, 1)}
    wait_until(
        lambda: asyncio.run(ledger_of(database_url)) == {"finished": replicas.answers.total()},
        "every call that was answered has its one record in PostgreSQL",
    )


def test_behind_the_balancer_of_the_compose_file_a_rolling_restart_loses_no_call(replicas, tmp_path):
    with haproxy(tmp_path, *(replica.port for replica in replicas.all)) as replicas.balancer:
        statuses = replicas.under_load(lambda: [replicas.restart(0), replicas.restart(1)])
    assert statuses == [0, 0]
    assert replicas.answers.keys() == {(200, 1)}
