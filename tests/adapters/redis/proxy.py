"""A TCP proxy between client and server that can hold answers back, cut connections, and answer by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit


class Proxy:
    """Forwards bytes. What it does with scripts' answers, once, is told by `hold_next_answer` and `cut_next_answer`.

    `requests` counts the scripts sent; `says` is sent back in place of them; while `answers` is not set none passes.
    Everything else, such as a new connection's greeting, always passes: the server lives, only scripts are slow.
    """

    def __init__(self, upstream_path: str) -> None:
        self._upstream_path = upstream_path
        self.url = ""
        self.answers = asyncio.Event()
        self.answers.set()
        self.hold_next_answer = False
        self.cut_next_answer = False
        self.says: bytes | None = None
        self.requests = 0
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection, until either side ends it."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        up_reader, up_writer = await asyncio.open_unix_connection(self._upstream_path)
        asked = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._requests(reader, writer, up_writer, asked))
                group.create_task(self._answers(up_reader, writer, asked))
        except* (ConnectionError, EOFError):
            pass
        finally:
            self._tasks.discard(task)
            for one in (writer, up_writer):
                one.close()
            for one in (writer, up_writer):
                with contextlib.suppress(ConnectionError):
                    await one.wait_closed()

    async def _requests(self, reader, writer, up_writer, asked) -> None:
        while data := await reader.read(65536):
            if b"EVAL" in data:
                self.requests += 1
                asked.set()
                if self.says is not None:
                    writer.write(self.says)
                    continue
            up_writer.write(data)
        raise EOFError

    async def _answers(self, up_reader, writer, asked) -> None:
        while data := await up_reader.read(65536):
            if asked.is_set():
                if self.hold_next_answer:
                    self.hold_next_answer = False
                    await asyncio.Event().wait()  # until the client gives up
                await self.answers.wait()
                if self.cut_next_answer:
                    self.cut_next_answer = False
                    raise EOFError
            writer.write(data)
        raise EOFError

    async def stop(self) -> None:
        """End every connection and wait until all are gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def proxy_before(url: str) -> AsyncIterator[Proxy]:
    """A running proxy in front of the server at this unix socket."""
    proxy = Proxy(urlsplit(url).path)
    server = await asyncio.start_server(proxy.serve_one, "127.0.0.1", 0)
    proxy.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.stop()
