from __future__ import annotations

import asyncio

import httpx2
import pytest

from gateway.simulator.sdnext.listener import SimulatedServer
from tests.simulator.support import instant, on_a_socket, until


async def test_two_servers_listen_on_ports_of_their_own() -> None:
    async with SimulatedServer(instant()) as one, SimulatedServer(instant()) as other:
        assert one.port != other.port


async def test_a_port_that_is_taken_is_an_error() -> None:
    async with SimulatedServer(instant()) as one:
        with pytest.raises(OSError, match="in use"):
            await SimulatedServer(instant(), port=one.port).accept()


async def test_stopping_ends_running_requests_and_leaves_no_task_behind() -> None:
    before = len(asyncio.all_tasks())
    async with on_a_socket(instant()) as (backend, server):
        backend.engine.hold("inference")
        job = asyncio.ensure_future(backend.txt2img())
        await until(lambda: backend.engine.counters.in_flight == 1)
        await server.stop()
        with pytest.raises(httpx2.TransportError):
            await job

    assert len(asyncio.all_tasks()) == before


async def test_the_date_and_the_server_stand_in_every_reply() -> None:
    async with on_a_socket(instant()) as (backend, _):
        reply = await backend.get("status")

        assert reply.headers["server"] == "uvicorn"
        assert reply.headers["date"].endswith("GMT")
