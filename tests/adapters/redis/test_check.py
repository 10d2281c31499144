"""Which servers are refused at start; a real one tells the truth, a stand-in tells what a real one here cannot."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from gateway.adapters.redis.check import UnfitServer, check_deployment, check_server
from gateway.adapters.redis.connection import Connection
from gateway.domain.errors import StoreUnavailable
from tests.support.patience import PATIENCE_S


async def test_a_server_that_keeps_everything_is_fit(connection):
    await check_server(connection)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "volatile-lru", "allkeys-random"])
async def test_a_server_that_evicts_is_refused_with_the_way_out(valkey, connection, policy):
    valkey.client.config_set("maxmemory-policy", policy)
    try:
        with pytest.raises(UnfitServer, match=f"maxmemory-policy is {policy}.*Set maxmemory-policy to noeviction"):
            await check_server(connection)
    finally:
        valkey.client.config_set("maxmemory-policy", "noeviction")


async def test_a_server_that_is_not_there_is_unavailable_and_not_unfit(unused_tcp_port):
    connection = Connection(f"redis://127.0.0.1:{unused_tcp_port}", "test")
    with pytest.raises(StoreUnavailable):
        await check_server(connection)
    await connection.close()


@contextlib.asynccontextmanager
async def server_that_says(info: str, port: int = 0) -> AsyncIterator[str]:
    """A stand-in for an old server: every command is answered with this INFO."""
    writers = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while data := await reader.read(65536):
            is_asked = b"$4\r\nINFO\r\n" in data
            writer.write(f"${len(info)}\r\n{info}\r\n".encode() if is_asked else b"+OK\r\n" * data.count(b"*"))

    server = await asyncio.start_server(talk, "127.0.0.1", port)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}?protocol=2"
    finally:
        for writer in writers:
            writer.close()
        server.close()


@pytest.mark.parametrize(
    ("version", "is_fit"),
    [("6.2.14", False), ("5.0", False), ("7.0.0", True), ("7.2.4", True), ("10.0", True), ("", False)],
)
async def test_a_server_older_than_seven_is_refused_with_the_way_out(version, is_fit):
    info = f"# Server\r\nredis_version:{version}\r\nmaxmemory_policy:noeviction\r\n"
    async with server_that_says(info) as url:
        connection = Connection(url, "test", timeout_s=PATIENCE_S)
        if is_fit:
            await check_server(connection)
        else:
            with pytest.raises(UnfitServer, match="needs 7 or newer"):
                await check_server(connection)
        await connection.close()


async def test_a_store_without_a_deployment_is_taken_and_then_belongs_to_it(connection):
    assert await check_deployment(connection, "d_one")
    assert not await check_deployment(connection, "d_one")
    with pytest.raises(UnfitServer, match="another gateway's database"):
        await check_deployment(connection, "d_two")
