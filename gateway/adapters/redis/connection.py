"""The connection to Redis: explicit time-outs, one re-send under the same operation id, and the breaker.

redis-py would re-send by itself up to ten times; here every retry is ours. A script that may have run is sent once more
under the same operation id, which the scripts answer with their first answer. After that the store counts as
unavailable
for `BREAKER_S` seconds, in which nothing is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.adapters.redis.scripts import Script
from gateway.domain.errors import StoreUnavailable

BREAKER_S = 1.0
MAX_CONNECTIONS = 32
POOL_WAIT_S = 1.0

T = TypeVar("T")
_MAY_HAVE_RUN = (RedisTimeoutError, RedisConnectionError)


class Connection:
    """Runs scripts and commands on one Redis, in the keys of one namespace."""

    def __init__(self, url: str, namespace: str, *, timeout_s: float = 0.5, offset_ms: int = 0) -> None:
        self.namespace = namespace
        self.offset_ms = offset_ms
        self._open_until = 0.0
        # Retry(NoBackoff(), 0) is "never": left out, redis-py re-sends a timed-out script up to ten times.
        options: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "health_check_interval": 0}
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=POOL_WAIT_S,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            **options,
        )
        self._redis = Redis(connection_pool=pool)
        self._blocking = Redis.from_url(url, socket_timeout=None, socket_connect_timeout=timeout_s, **options)

    def key(self, name: str) -> str:
        """The full name of a key; all keys of a namespace share one hash tag, so one shard of a cluster."""
        return f"{{{self.namespace}}}:{name}"

    async def run(self, script: Script, operation_id: str, *arguments: str | bytes | int) -> list[Any]:
        """The script's reply; sent at most twice. Raises StoreUnavailable; what was sent may then have run."""

        async def send() -> list[Any]:
            keys_and_arguments = (self.key("generation"), self.offset_ms, operation_id, *arguments)
            try:
                reply = await self._redis.evalsha(script.sha, 1, *keys_and_arguments)
            except NoScriptError:
                reply = await self._redis.eval(script.text, 1, *keys_and_arguments)
            return list(reply)

        return await self._guarded(send)

    async def command(self, *words: str | bytes | int) -> Any:  # noqa: ANN401 - a reply is whatever the command gives
        """One plain command's reply, for commands that may be repeated. Raises StoreUnavailable."""

        async def send() -> Any:  # noqa: ANN401 - as above
            return await self._redis.execute_command(*words)  # type: ignore[no-untyped-call]

        return await self._guarded(send)

    async def pipeline(self, commands: list[tuple[str | bytes | int, ...]]) -> list[Any]:
        """The replies of several repeatable commands, in one round trip. Raises StoreUnavailable."""

        async def send() -> list[Any]:
            pipe = self._redis.pipeline(transaction=False)
            for words in commands:
                pipe.execute_command(*words)
            return list(await pipe.execute())

        return await self._guarded(send)

    async def pop(self, name: str, timeout_s: float) -> bytes | None:
        """The first entry of a list, waited for on a connection of its own. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(timeout_s + 2.0):
                reply: Any = await self._blocking.blpop([self.key(name)], timeout=timeout_s)
        except (RedisError, TimeoutError, OSError) as error:
            raise self._unavailable(error) from error
        return bytes(reply[1]) if reply else None

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()
        await self._blocking.aclose()

    async def _guarded(self, send: Callable[[], Awaitable[T]]) -> T:
        now = asyncio.get_running_loop().time()
        if now < self._open_until:
            raise StoreUnavailable("The gateway's store does not answer. Try again in a moment.")
        try:
            return await self._sent_at_most_twice(send)
        except (OutOfMemoryError, ReadOnlyError, *_MAY_HAVE_RUN, OSError) as error:
            self._open_until = asyncio.get_running_loop().time() + BREAKER_S
            raise self._unavailable(error) from error

    @staticmethod
    async def _sent_at_most_twice(send: Callable[[], Awaitable[T]]) -> T:
        try:
            return await send()
        except _MAY_HAVE_RUN:
            return await send()

    @staticmethod
    def _unavailable(error: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"The gateway's store does not answer ({type(error).__name__}). Try again in a moment.")
