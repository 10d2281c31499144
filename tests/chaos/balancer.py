"""A small balancer: follows each `/readyz`, sends each call on a connection of its own, and retries nothing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

LOOK_EVERY_S = 0.1


class Balancer:
    """Passes connections to ready replicas, one after the other. `targets` are ports, added and removed at will."""

    def __init__(self) -> None:
        self.targets: list[int] = []
        self.ready: set[int] = set()
        self.port = 0
        self._turn = itertools.count()
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def follow(self) -> None:
        """Ask every replica whether it is ready, for ever."""
        while True:
            for port in list(self.targets):
                is_ready = await _is_ready(port)
                if is_ready is not None:  # no answer in time says nothing yet, as a balancer's `fall 2` has it
                    (self.ready.add if is_ready else self.ready.discard)(port)
            self.ready &= set(self.targets)
            await asyncio.sleep(LOOK_EVERY_S)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client, to the replica whose turn it is."""
        task = asyncio.current_task()
        assert task is not None
        self._open[writer] = task
        try:
            if ports := sorted(self.ready):
                async with _connected(ports[next(self._turn) % len(ports)]) as (up_reader, up_writer):
                    async with asyncio.TaskGroup() as group:
                        group.create_task(_pass_on(reader, up_writer))
                        group.create_task(_pass_on(up_reader, writer))
        except* OSError:
            pass  # the client sees its connection break: a failed call
        finally:
            await _closed(writer)
            del self._open[writer]

    async def end(self) -> None:
        for writer in list(self._open):
            writer.close()
        await asyncio.gather(*list(self._open.values()))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side has no more to say; then the other side is told so by the end of its connection."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        await _closed(writer)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _is_ready(port: int) -> bool | None:
    """What the replica says; False when nobody listens, None when it does not say in time."""
    try:
        async with asyncio.timeout(1.0), _connected(port) as (reader, writer):
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: replica\r\nConnection: close\r\n\r\n")
            return b" 200 " in await reader.readline()
    except TimeoutError:
        return None
    except OSError:
        return False


@contextlib.asynccontextmanager
async def balancing() -> AsyncIterator[Balancer]:
    """A running balancer."""
    balancer = Balancer()
    server = await asyncio.start_server(balancer.serve, "127.0.0.1", 0)
    balancer.port = server.sockets[0].getsockname()[1]
    async with asyncio.TaskGroup() as group:
        following = group.create_task(balancer.follow())
        try:
            yield balancer
        finally:
            following.cancel()
            server.close()
            await balancer.end()
