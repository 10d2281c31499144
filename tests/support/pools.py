"""A whole gateway for tests: real processes, a real Valkey, simulated SD.Next servers that remember what they
received.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from gateway.domain.keys import Grants
from gateway.domain.managed import Tenant
from gateway.flow.changes import Author
from gateway.flow.credentials import KeyRequest
from gateway.settings import Settings
from gateway.wiring.desk import open_management
from tests.support.patience import PATIENCE_S, STORE_TIMEOUT_S
from tests.support.ports import free_port
from tests.support.processes import GatewayProcess, Gateways, wait_until
from tests.support.valkey import RunningValkey

KEY = "sk-test-0123456789abcdefghij"
AUTHOR = Author("test", 1_700_000_000.0)
SMALL = {"prompt": "a cat", "steps": 1, "width": 64, "height": 64}


@dataclass(frozen=True, slots=True)
class Sim:
    """One simulated SD.Next as a process of its own."""

    name: str
    port: int
    process: GatewayProcess

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, body: Any = None, method: str = "GET") -> Any:
        """The JSON of one request; anything but 2xx raises."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - our own server
            self.url + path, data=data, method=method, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310 - as above
            return json.loads(answer.read() or b"null")

    def received(self, path: str) -> list[dict[str, Any]]:
        """What it received under this path, in order."""
        return [entry for entry in self.ask("/__sim/received") if entry["path"] == path]

    def is_up(self) -> bool:
        try:
            self.ask("/sdapi/v1/sd-models")
        except OSError:
            return False
        return True


@dataclass(slots=True)
class Pool:
    """Backends, a gateway in front of them, and a way to make keys."""

    gateways: Gateways
    valkey: RunningValkey
    sims: dict[str, Sim] = field(default_factory=dict)
    gateway: GatewayProcess | None = None
    metrics_port: int = 0

    def add_sim(self, name: str, models: str, **flags: str) -> Sim:
        """Start a simulated backend; `flags` are those of `gateway sim-backend`."""
        port = free_port()
        words = [word for key, value in flags.items() for word in (f"--{key.replace('_', '-')}", value)]
        process = self.gateways.start("sim-backend", "--port", str(port), "--models", models, *words, port=port)
        self.sims[name] = Sim(name, port, process)
        return self.sims[name]

    def start(self, *, workers: int = 1, **settings: str) -> GatewayProcess:
        """Start the gateway with every backend added so far, once those answer; back when it is ready."""
        for sim in self.sims.values():
            wait_until(sim.is_up, f"{sim.name} is up")
        declared = [{"name": sim.name, "url": sim.url} for sim in self.sims.values()]
        self.metrics_port = int(settings.get("metrics_port", "0"))
        self.gateway = self.gateways.start(
            "serve",
            redis_url=self.valkey.url,
            alone="true",
            workers=str(workers),
            first_key=KEY,
            drain_delay_s="0",
            **{"backends": json.dumps(declared)} | settings,
        )
        self.gateway.wait_until_ready()
        return self.gateway

    @property
    def settings(self) -> Settings:
        """Settings of a process beside the gateway, on the same stores."""
        assert self.gateway is not None
        return Settings(
            data_dir=Path(self.gateway.home), redis_url=self.valkey.url, alone=True, store_timeout_s=STORE_TIMEOUT_S
        )

    def add_key(
        self,
        key: str,
        tenant: str,
        plan: Mapping[str, Any] | None = None,
        grants: Grants | None = None,
        *,
        allows_path: bool = False,
    ) -> None:
        """A tenant with one key, on a plan of its own if limits are given."""

        async def make() -> None:
            async with open_management(self.settings) as manager:
                await manager.credentials.ensure_key(
                    AUTHOR, KeyRequest(tenant, "test", secret=key, grants=grants or Grants(), allows_path=allows_path)
                )
                if plan is not None:
                    await manager.create_plan(AUTHOR, f"{tenant}-plan", plan)
                    await manager.change(AUTHOR, (Tenant, tenant), {"plan": f"{tenant}-plan"})

        asyncio.run(make())

    def post_many(
        self, bodies: list[dict[str, Any]], key: str = KEY, path: str = "/sdapi/v1/txt2img"
    ) -> list[httpx2.Response]:
        """All answers to these bodies sent at once."""

        async def send() -> list[httpx2.Response]:
            async with self.client(key) as client:
                return await asyncio.gather(*(client.post(path, json=body) for body in bodies))

        return asyncio.run(send())

    def client(self, key: str = KEY) -> httpx2.AsyncClient:
        """A client of the gateway that waits as long as it takes."""
        assert self.gateway is not None
        return httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{self.gateway.port}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=PATIENCE_S,
            limits=httpx2.Limits(max_connections=None),
        )

    def post(self, body: dict[str, Any], key: str = KEY, path: str = "/sdapi/v1/txt2img") -> httpx2.Response:
        """The answer to one body."""
        return self.post_many([body], key, path)[0]

    def get(self, path: str, key: str = KEY) -> httpx2.Response:
        """The answer to one GET."""

        async def send() -> httpx2.Response:
            async with self.client(key) as client:
                return await client.get(path)

        return asyncio.run(send())

    def counted(self) -> tuple[int, int]:
        """How many HTTP calls the gateway has counted and how many bytes of bodies it read for them, health checks
        apart. It must have been given a metrics port.
        """
        text = (
            urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=PATIENCE_S).read().decode()
        )
        calls = re.findall(r'^gateway_calls_total\{route="(\w+)",.* (\S+)$', text, re.MULTILINE)
        sizes = re.findall(r'^gateway_body_bytes_total\{direction="in",route="(\w+)"\} (\S+)$', text, re.MULTILINE)
        calls_counted, bytes_counted = (
            sum(int(float(count)) for route, count in found if route != "health") for found in (calls, sizes)
        )
        return calls_counted, bytes_counted


@contextlib.contextmanager
def shared_pool(home: Path, valkey: RunningValkey) -> Iterator[Pool]:
    """A pool for all tests of a module, on that module's Valkey, which it empties first."""
    valkey.client.flushall()
    pool = Pool(Gateways(home), valkey)
    try:
        yield pool
    finally:
        for one in pool.gateways.started:
            one.remove()
