"""What goes on beside the calls while a process serves, and what ends the process with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gateway.flow.supervise import LoopsFailed, Supervisor

EndProcess = Callable[[str], None]
"""Ends the process with status 1, for the reason given."""


@asynccontextmanager
async def running(supervisor: Supervisor, end_process: EndProcess) -> AsyncIterator[None]:
    """The loops run while the block does; if they cannot be kept running the process ends."""
    async with meanwhile(supervisor.run, LoopsFailed, end_process):
        yield


@asynccontextmanager
async def meanwhile(
    work: Callable[[], Awaitable[None]], fatal: type[Exception], end_process: EndProcess
) -> AsyncIterator[None]:
    """The work goes on while the block does, or until it is done; a `fatal` error of it ends the process."""

    async def going_on() -> None:
        try:
            await work()
        except fatal as error:
            end_process(str(error))

    async with asyncio.TaskGroup() as group:
        task = group.create_task(going_on())
        try:
            yield
        finally:
            task.cancel()
