"""Large bodies are read beside the event loop, so that a hostile one holds no other call up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LARGE_BYTES = 4_000_000  # less is read in 30 ms, whatever is in it; 32 MB can take 300


async def off_loop(body: bytes, read: Callable[[], T]) -> T:
    """The result of `read`, which reads this body and changes nothing else: in a thread where the body is large."""
    if len(body) <= LARGE_BYTES:
        return read()
    return await asyncio.to_thread(read)
