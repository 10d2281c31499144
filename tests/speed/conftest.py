"""The gateway inside the test process, so that what a call does can be counted; its backend is a process of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy
from fastapi import FastAPI
from sqlalchemy import event

from gateway.asgi import create_app
from gateway.settings import BackendSettings, Settings
from tests.support.patience import STORE_TIMEOUT_S
from tests.support.pools import KEY, Sim
from tests.support.ports import free_port
from tests.support.processes import Gateways, wait_until

MODEL = "red"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class InProcess:
    """Calls the application as a server would, in the task of the test."""

    app: FastAPI

    async def call(self, method: str, path: str, body: bytes = b"") -> Answer:
        headers = {
            "authorization": f"Bearer {KEY}",
            "content-type": "application/json",
            "content-length": str(len(body)),
        }
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        parts = iter([{"type": "http.request", "body": body, "more_body": False}])
        sent: list[dict[str, Any]] = []
        stays = asyncio.Event()  # never set: this caller does not leave

        async def receive() -> dict[str, Any]:
            for part in parts:
                return part
            await stays.wait()
            raise AssertionError

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start, *rest = sent
        return Answer(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            b"".join(part.get("body", b"") for part in rest),
        )

    async def generate(self, **fields: Any) -> Answer:
        body = {"prompt": "a cat", "steps": 1, "width": 64, "height": 64, "sd_model_checkpoint": MODEL, **fields}
        path = "img2img" if "init_images" in fields else "txt2img"
        answer = await self.call("POST", f"/sdapi/v1/{path}", json.dumps(body).encode())
        assert answer.status == 200, answer.body
        return answer


@pytest.fixture(scope="module")
def sim(tmp_path_factory) -> Iterator[Sim]:
    """One simulated backend for all tests of a module."""
    gateways, port = Gateways(tmp_path_factory.mktemp("sim")), free_port()
    words = ("--port", str(port), "--models", MODEL, "--seconds-per-megapixel-step", "0.001", "--swap-seconds", "0.01")
    one = Sim("one", port, gateways.start("sim-backend", *words, port=port))
    try:
        wait_until(one.is_up, "the simulated backend is up")
        yield one
    finally:
        for started in gateways.started:
            started.remove()


@pytest.fixture
async def here(sim, valkey, tmp_path) -> AsyncIterator[InProcess]:
    """The gateway in this process, with what a first call makes already made: loaded, cached, connected."""
    settings = Settings(
        data_dir=tmp_path,
        redis_url=valkey.url,
        alone=True,
        backends=(BackendSettings(name="one", url=sim.url),),
        first_key=KEY,
        log_level="error",
        store_timeout_s=STORE_TIMEOUT_S,
    )
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        calls = InProcess(app)
        for _ in range(2):
            await calls.generate()
        yield calls


@contextmanager
def sql_statements() -> Iterator[list[str]]:
    """Every statement that any engine of this process executes within the block."""
    seen: list[str] = []

    def note(_connection, _cursor, statement, *_rest) -> None:
        seen.append(statement)

    event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(sqlalchemy.Engine, "before_cursor_execute", note)


@contextmanager
def tasks_created(by: Callable[[], asyncio.Task[Any] | None]) -> Iterator[list[str]]:
    """Names of the coroutines that became tasks of the task `by()` or of one that it began, within the block."""
    loop, ours, seen = asyncio.get_running_loop(), {by()}, list[str]()

    def factory(loop, coroutine, **options) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **options)
        if asyncio.current_task() in ours:
            ours.add(task)
            seen.append(coroutine.__qualname__)
        return task

    loop.set_task_factory(factory)
    try:
        yield seen
    finally:
        loop.set_task_factory(None)
