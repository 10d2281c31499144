"""The real application with real stores and a simulated SD.Next on a socket, all in the test's own loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI

from gateway.asgi import create_app
from gateway.domain.keys import Grants, Names
from gateway.flow.changes import Author
from gateway.flow.credentials import KeyRequest
from gateway.settings import Settings
from gateway.simulator.sdnext.listener import SimulatedServer
from gateway.simulator.sdnext.simulation_options import SimulationOptions
from gateway.wiring.desk import open_management
from tests.support.patience import STORE_TIMEOUT_S
from tests.support.valkey import RunningValkey

KEY = "sk-test-0123456789abcdefghij"
SMALL = {"prompt": "a cat", "steps": 1, "width": 64, "height": 64, "sd_model_checkpoint": "red"}
AUTHOR = Author("test", 1_700_000_000.0)


@dataclass
class Whole:
    """An open application, a client of it, and its one backend."""

    app: FastAPI
    client: httpx2.AsyncClient
    backend: SimulatedServer
    settings: Settings

    async def get(self, path: str, key: str = KEY, **headers: str) -> httpx2.Response:
        return await self.client.get(path, headers={"Authorization": f"Bearer {key}"} | headers)

    async def post(self, path: str = "/sdapi/v1/txt2img", body: Any = None, key: str = KEY) -> httpx2.Response:
        return await self.client.post(path, json=body or SMALL, headers={"Authorization": f"Bearer {key}"})

    async def add_key(self, secret: str, tenant: str, *models: str) -> None:
        """One more tenant, with a key for these models."""
        async with open_management(self.settings) as manager:
            grants = Grants(models=Names(models))
            await manager.credentials.ensure_key(AUTHOR, KeyRequest(tenant, "test", secret=secret, grants=grants))


def settings_for(folder: Path, redis_url: str, backends: list[dict[str, str]], **more: Any) -> Settings:
    """Settings of a gateway of its own."""
    given = {"first_key": KEY, "log_level": "error", "alone": True, "store_timeout_s": STORE_TIMEOUT_S} | more
    return Settings(data_dir=folder, redis_url=redis_url, backends=backends, **given)


@asynccontextmanager
async def opened(folder: Path, valkey: RunningValkey, **more: Any) -> AsyncIterator[Whole]:
    """The application between its start and its end; its backend answers at once and has the models red and blue."""
    options = SimulationOptions(models=("Diffusers/red", "Diffusers/blue"), time_scale=0)
    async with SimulatedServer(options) as backend:
        declared = more.pop("backends", [{"name": "one", "url": backend.url}])
        settings = settings_for(folder, valkey.url, declared, **more)
        app = create_app(settings)
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://gateway.test") as client,
        ):
            yield Whole(app, client, backend, settings)
