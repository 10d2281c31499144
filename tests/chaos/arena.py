"""Gateways, backends and both stores as processes, and the hand that kills them. Its dice are given."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import httpx2

from gateway.domain.managed import Tenant
from gateway.flow.credentials import KeyRequest
from gateway.settings import Settings
from gateway.wiring.desk import open_management
from tests.chaos.conftest import OwnStore
from tests.support.patience import STORE_TIMEOUT_S
from tests.support.pools import AUTHOR, KEY, SMALL
from tests.support.ports import free_port
from tests.support.processes import GatewayProcess, Gateways, wait_until_async

MANY = "sk-many-0123456789abcdefghij"
PLAN = {"requests_per_minute": 1_000_000, "burst": 1_000_000, "max_concurrency": 3, "max_queued": 5000}
LEASE_S = 4.0
MODELS = ("red", "blue", "green")
CALLERS = 24
IMPATIENT = 0.1  # share of the callers that leave before their answer


class Arena:
    """All processes, by port. Every kill is a SIGKILL, and what was killed is started again."""

    def __init__(self, gateways: Gateways, store: OwnStore, folder: Path, seed: int) -> None:
        self._gateways, self._store = gateways, store
        self.dice = random.Random(seed)  # noqa: S311 - chaos, not secrets
        self.database = folder / "shared.db"
        self.replicas: dict[int, GatewayProcess] = {}
        self.sims: dict[int, GatewayProcess] = {}
        self.answers: Counter[object] = Counter()
        self.kills: Counter[str] = Counter()

    @property
    def settings(self) -> Settings:
        return Settings(
            database_url=f"sqlite:///{self.database}",
            redis_url=self._store.server.url,
            alone=True,
            store_timeout_s=STORE_TIMEOUT_S,
        )

    async def begin(self, replicas: int, backends: int) -> None:
        for port in [free_port() for _ in range(backends)]:
            self._start_backend(port)
        for port in [free_port() for _ in range(replicas)]:
            self._start_replica(port)
            await self._ready(port)
        async with open_management(self.settings) as manager:
            await manager.credentials.ensure_key(AUTHOR, KeyRequest("many", "test", secret=MANY))
            await manager.create_plan(AUTHOR, "many-plan", PLAN)
            await manager.change(AUTHOR, (Tenant, "many"), {"plan": "many-plan"})

    def _start_backend(self, port: int) -> None:
        flags = {"models": ",".join(MODELS), "seconds-per-megapixel-step": "12", "swap-seconds": "0.1"}
        words = [word for name, value in flags.items() for word in (f"--{name}", value)]
        self.sims[port] = self._gateways.start("sim-backend", "--port", str(port), *words, port=port)

    def _start_replica(self, port: int) -> None:
        declared = [{"name": f"backend-{sim}", "url": f"http://127.0.0.1:{sim}"} for sim in self.sims]
        self.replicas[port] = self._gateways.start(
            "serve",
            port=port,
            redis_url=self._store.server.url,
            database_url=f"sqlite:///{self.database}",
            alone="true",
            backends=json.dumps(declared),
            first_key=KEY,
            lease_s=str(LEASE_S),
        )

    async def _ready(self, port: int) -> None:
        async def is_ready() -> bool:
            return await asyncio.to_thread(self.replicas[port].is_ready)

        await wait_until_async(is_ready, "the replica is ready")

    # --- callers

    async def call(self, jobs: int) -> None:
        """That many calls, some of which leave early; an answer of any kind is fine, none at all is not."""
        left = iter(range(jobs))

        async def caller() -> None:
            for number in left:
                await self._one_call(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(caller())

    async def _one_call(self, number: int) -> None:
        # No two are alike: a request under which two backends died is refused for a while.
        body = {**SMALL, "prompt": f"cat {number}", "sd_model_checkpoint": self.dice.choice(MODELS)}
        patience_s = self.dice.uniform(0.0, 0.5) if self.dice.random() < IMPATIENT else 90.0
        port = self.dice.choice(list(self.replicas))
        try:
            async with (
                asyncio.timeout(patience_s),
                httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=None) as client,
            ):
                headers = {"Authorization": f"Bearer {MANY}"}
                ended: object = (await client.post("/sdapi/v1/txt2img", json=body, headers=headers)).status_code
        except TimeoutError:
            ended = "left" if patience_s < 1 else "no answer"
        except httpx2.HTTPError:
            ended = "broken"
        self.answers[ended] += 1
        if ended in (503, "broken"):
            await asyncio.sleep(0.3)  # as a client that heeds Retry-After a little

    # --- kills

    async def kill_a_replica(self) -> None:
        port = self.dice.choice(list(self.replicas))
        await self._end(self.replicas[port])
        self._start_replica(port)
        await self._ready(port)

    async def kill_a_backend(self) -> None:
        port = self.dice.choice(list(self.sims))
        await self._end(self.sims[port])
        await asyncio.sleep(self.dice.uniform(0, 1))
        self._start_backend(port)

    async def kill_the_store(self) -> None:
        await asyncio.to_thread(self._store.kill)
        await asyncio.sleep(self.dice.uniform(0, 2))
        self._store.start_again()

    async def lock_the_database(self) -> None:
        """No writing for longer than a writer waits for its turn."""
        with closing(sqlite3.connect(self.database, isolation_level=None)) as database:
            database.execute("pragma busy_timeout = 5000")
            database.execute("begin immediate")
            await asyncio.sleep(self.dice.uniform(1, 7))
            database.execute("rollback")

    async def _end(self, process: GatewayProcess) -> None:
        process.process.kill()
        await asyncio.to_thread(process.process.wait)

    def all_kinds(self) -> list[Callable[[], Awaitable[None]]]:
        return [self.kill_a_replica, self.kill_a_backend, self.kill_the_store, self.lock_the_database]

    async def torment(self, calls: asyncio.Task[None], most_pause_s: float) -> None:
        """One kill after the other, each kind at least once, for as long as the calls go on."""
        kinds = self.all_kinds()
        self.dice.shuffle(kinds)
        while kinds or not calls.done():
            kind = kinds.pop() if kinds else self.dice.choice(self.all_kinds())
            await kind()
            self.kills[kind.__name__] += 1
            await asyncio.sleep(self.dice.uniform(0, most_pause_s))  # between two blows


async def at_pace(one: Callable[[], Coroutine[Any, Any, None]], every_s: float, for_s: float) -> None:
    """Begin `one` at that pace for that long, however long each takes; back when all have ended."""
    began = monotonic()
    async with asyncio.TaskGroup() as group:
        while monotonic() - began < for_s:
            group.create_task(one())
            await asyncio.sleep(every_s)
