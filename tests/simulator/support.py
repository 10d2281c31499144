"""Help for tests of the simulated server: a client in virtual time, a server on a socket, and readers of replies."""

from __future__ import annotations

import asyncio
import base64
import functools
import io
import json
import selectors
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
from PIL import Image

from gateway.simulator.sdnext.app import create_simulated_sdnext
from gateway.simulator.sdnext.listener import SimulatedServer
from gateway.simulator.sdnext.simulation_options import SimulationOptions
from tests.support.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from gateway.simulator.sdnext.simulation import Simulation

A, B = "Diffusers/tiny-a", "Diffusers/tiny-b"
SMALL: dict[str, Any] = {"prompt": "a cat", "steps": 4, "width": 64, "height": 64}
STEPS_PER_SECOND = SimulationOptions(seconds_per_megapixel_step=1 / 0.004096)  # one 64x64 step takes one second


class _Jumping(selectors.DefaultSelector):
    """Never sleeps: when nothing is ready, the loop's clock jumps to its next timer."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("every task waits and no timer is set: this would hang for ever")
        self.skipped += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.skipped


def in_virtual_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on a loop whose clock jumps, so that hours of waiting pass at once."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


class Backend:
    """A client of a simulated server, and the server's insides."""

    def __init__(self, http: httpx2.AsyncClient, simulation: Simulation) -> None:
        self.http = http
        self.simulation = simulation
        self.engine = simulation.engine

    async def get(self, path: str, **params: Any) -> httpx2.Response:
        return await self.http.get(f"/sdapi/v1/{path}", params=params)

    async def post(self, path: str, body: Any = None, **params: Any) -> httpx2.Response:
        return await self.http.post(f"/sdapi/v1/{path}", json=body, params=params)

    async def txt2img(self, **fields: Any) -> httpx2.Response:
        return await self.post("txt2img", SMALL | fields)

    async def img2img(self, init: Image.Image, **fields: Any) -> httpx2.Response:
        return await self.post("img2img", SMALL | {"init_images": [as_base64(init)]} | fields)

    async def loaded(self) -> str | None:
        return (await self.get("checkpoint")).json().get("title")


@asynccontextmanager
async def in_process(options: SimulationOptions) -> AsyncIterator[Backend]:
    """A simulated server called without a socket; works in virtual time."""
    app = create_simulated_sdnext(options)
    transport = httpx2.ASGITransport(app, client=("127.0.0.1", 50000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://sdnext.test") as http:
        yield Backend(http, app.state.simulation)


@asynccontextmanager
async def on_a_socket(options: SimulationOptions) -> AsyncIterator[tuple[Backend, SimulatedServer]]:
    """A simulated server on a port of 127.0.0.1."""
    async with SimulatedServer(options) as server, httpx2.AsyncClient(base_url=server.url, timeout=PATIENCE_S) as http:
        yield Backend(http, server.simulation), server


def instant(**changes: Any) -> SimulationOptions:
    return SimulationOptions(time_scale=0, **changes)


def pictures(reply: httpx2.Response) -> list[Image.Image]:
    found = [Image.open(io.BytesIO(base64.b64decode(text))) for text in reply.json()["images"]]
    for picture in found:
        picture.load()
    return found


def picture(reply: httpx2.Response) -> Image.Image:
    (only,) = pictures(reply)
    return only


def info(reply: httpx2.Response) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(reply.json()["info"])
    return parsed


def last_line(reply: httpx2.Response, index: int = 0) -> dict[str, str]:
    """The fields of the true line of an infotext."""
    line = info(reply)["infotexts"][index].rsplit("\n", 1)[-1]
    return dict(part.split(": ", 1) for part in line.split(", "))


def is_complete(reply: httpx2.Response) -> bool:
    """The rule by which a gateway tells a whole answer from an interrupted one."""
    told = info(reply)
    return len(reply.json()["images"]) == len(told["infotexts"]) >= len(told["all_seeds"])


def as_base64(image: Image.Image, image_format: str = "PNG") -> str:
    buffer = io.BytesIO()
    image.save(buffer, image_format)
    return base64.b64encode(buffer.getvalue()).decode()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something is so; fails after PATIENCE_S."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for lies in another program part and has no event
            await asyncio.sleep(0.001)
