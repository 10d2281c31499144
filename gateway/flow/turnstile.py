"""How many calls are on their way in at once.

A burst of a thousand calls, all shaped and sent to the store in one turn of the event loop, keeps that turn going for
seconds: answers of the store lie unread until their time-outs pass. Through the turnstile each turn stays short; those
outside wait in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

AT_ONCE = 32  # as many as the store's connections


class Turnstile:
    """Lets `at_once` calls through at a time, first come first served."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = asyncio.Semaphore(at_once)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Callable[[], None]]:
        """A turn: it ends when the block does, or as soon as what is given is called."""
        await self._free.acquire()
        is_over = False

        def over() -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                self._free.release()

        try:
            yield over
        finally:
            over()
