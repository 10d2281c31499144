"""The connection to Redis: explicit time-outs, one re-send under the same operation id, and the breaker.

redis-py would re-send by itself up to ten times; here every retry is ours. A script that may have run is sent once more
under the same operation id, which the scripts answer with their first answer. When that fails too the store counts as
unavailable: for `BREAKER_S` seconds nothing is sent, then one probe, and so on until one is answered. Probes are
heartbeats and the commands of loops, behind which no caller waits: a call of a client is refused at once.
Waiting for a free connection is not a failure of the store and has no limit of its own: each connection is free again
after two time-outs at most, and those who waited meet the open breaker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from gateway.adapters.redis.breaker import Breaker
from gateway.adapters.redis.patience import Patience
from gateway.adapters.redis.scripts import Script
from gateway.domain.errors import StoreUnavailable
from gateway.ports.health import StoreHealth

TIMEOUT_S = 0.4  # the setting's default: with what a tick and a busy machine add, a call waits half a second
BREAKER_S = 1.0
PROBES = frozenset({"heartbeat"})
MAX_CONNECTIONS = 32
POP_GRACE_S = 2.0

T = TypeVar("T")
_NO_ANSWER = (RedisTimeoutError, RedisConnectionError, OSError, TimeoutError)
# Answers that stay the same for a while: sending again at once is of no use, the breaker opens.
_CANNOT_WORK = (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
)


class Connection:
    """Runs scripts and commands on one Redis, in the keys of one namespace.

    `timeout_s` is how long a call waits at most, connecting included; the two times a thing may be sent share it.
    `breaks` counts what was sent and not answered: after one of these the server may have begun anew.
    `now_us` is the time that scripts go by, in microseconds since 1970; by the server's own clock where it is None.
    `observe` is told of everything sent: a script's name, or `command`, and the seconds until its answer or failure;
    `health` whether the server did it.
    Not `is_open`, it sends nothing until `open`. `url` may hold a password.
    """

    def __init__(  # noqa: PLR0913 - by keyword all but two
        self,
        url: str,
        namespace: str,
        *,
        timeout_s: float = TIMEOUT_S,
        now_us: int | None = None,
        observe: Callable[[str, float], None] | None = None,
        health: StoreHealth | None = None,
        is_open: bool = True,
    ) -> None:
        self.url = url
        self.namespace = namespace
        self.now_us = now_us
        self.breaks = 0
        self._observe = observe
        self._health = health
        self._is_open = is_open
        self._breaker = Breaker(BREAKER_S)
        self._patience, self._send_s = Patience(), timeout_s / 2
        self._free_connections = asyncio.Semaphore(MAX_CONNECTIONS)
        # Retry(NoBackoff(), 0) is "never": a client made without it re-sends a timed-out script up to ten times.
        # Maintenance notifications are on by default over TCP (redis-py 8): they stretch our time-outs, and the pool
        # then hands out connections without looking for an unread answer.
        # Its own time-outs are off, too: they count time in which our loop was busy. `Patience` limits every wait.
        options: dict[str, Any] = {
            "socket_connect_timeout": None,
            "retry": Retry(NoBackoff(), 0),
            "health_check_interval": 0,
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        self._pool = ConnectionPool.from_url(url, max_connections=MAX_CONNECTIONS, socket_timeout=None, **options)
        self._redis = Redis(connection_pool=self._pool)
        self._blocking = Redis.from_url(url, socket_timeout=None, **options)

    def open(self) -> None:
        """From now on things are sent."""
        self._is_open = True

    def key(self, name: str) -> str:
        """The full name of a key; all keys of a namespace share one hash tag, so one shard of a cluster."""
        return f"{{{self.namespace}}}:{name}"

    async def run(self, script: Script, operation_id: str, *arguments: str | bytes | int) -> list[Any]:
        """The script's reply; sent at most twice. Raises StoreUnavailable; what was sent may then have run."""

        async def send() -> list[Any]:
            time = "" if self.now_us is None else self.now_us
            keys_and_arguments = (self.key("generation"), time, operation_id, *arguments)
            try:
                reply = await self._redis.evalsha(script.sha, 1, *keys_and_arguments)
            except NoScriptError:
                reply = await self._redis.eval(script.text, 1, *keys_and_arguments)
            return list(reply)

        return await self._guarded(send, script.name, may_probe=script.name in PROBES)

    async def command(self, *words: str | bytes | int) -> Any:  # noqa: ANN401 - a reply is whatever the command gives
        """One plain command's reply, for commands that may be repeated. Raises StoreUnavailable."""

        async def send() -> Any:  # noqa: ANN401 - as above
            return await self._redis.execute_command(*words)  # type: ignore[no-untyped-call]

        return await self._guarded(send)

    async def pipeline(self, commands: list[tuple[str | bytes | int, ...]], *, may_probe: bool = True) -> list[Any]:
        """The replies of several repeatable commands, in one round trip. Raises StoreUnavailable.

        `may_probe` is false where a caller waits for it.
        """

        async def send() -> list[Any]:
            pipe = self._redis.pipeline(transaction=False)
            for words in commands:
                pipe.execute_command(*words)
            return list(await pipe.execute())

        return await self._guarded(send, may_probe=may_probe)

    async def pop(self, name: str, timeout_s: float) -> bytes | None:
        """The first entry of a list, waited for on a connection of its own. Raises StoreUnavailable.

        Sends nothing while the breaker is open and is never its probe: it may wait for as long as `timeout_s`.
        """
        if not (self._is_open and self._breaker.is_closed):
            raise _no_answer()
        try:
            async with asyncio.timeout(timeout_s + POP_GRACE_S):
                reply: Any = await self._blocking.blpop([self.key(name)], timeout=timeout_s)
        except (RedisError, TimeoutError, OSError) as error:
            raise _unavailable(error) from error
        return bytes(reply[1]) if reply else None

    async def server(self) -> str:
        """What tells this start of the server from every other one. Raises StoreUnavailable."""
        told: dict[str, Any] = await self.command("INFO", "server")
        return str(told.get("run_id", ""))

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.aclose()
        await self._pool.disconnect()
        await self._blocking.aclose()

    async def _guarded(self, send: Callable[[], Awaitable[T]], name: str = "command", *, may_probe: bool = True) -> T:
        if not (self._is_open and (may_probe or self._breaker.is_closed)):
            raise _no_answer()
        async with self._free_connections:
            was_closed, began = self._breaker.is_closed, _now()
            if not (was_closed or (may_probe and self._breaker.admits(_now()))):
                raise _no_answer()
            try:
                reply = await (self._sent_at_most_twice(send) if was_closed else self._sent(send))
            except (*_CANNOT_WORK, *_NO_ANSWER) as error:
                self.breaks += 1
                self._breaker.failed(_now())
                if isinstance(error, ReadOnlyError):  # a replica now: the next connections find the new primary
                    await self._pool.disconnect(inuse_connections=False)
                raise self._told(name, _unavailable(error)) from error
            except RedisError as error:
                raise self._told(name, _unavailable(error)) from error
            finally:
                if self._observe is not None:
                    self._observe(name, _now() - began)
            self._breaker.succeeded()
            if self._health is not None:
                self._health.worked("redis", was_write=name in PROBES)  # a heartbeat writes, whatever else may not
            return reply

    def _told(self, name: str, error: StoreUnavailable) -> StoreUnavailable:
        """The same error, once those who watch the store were told of it."""
        if self._health is not None:
            self._health.failed("redis", str(error), was_write=name in PROBES)
        return error

    async def _sent_at_most_twice(self, send: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._sent(send)
        except _CANNOT_WORK:
            raise
        except _NO_ANSWER:
            self.breaks += 1
            return await self._sent(send)

    async def _sent(self, send: Callable[[], Awaitable[T]]) -> T:
        async with self._patience.limit(self._send_s):
            return await send()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _no_answer() -> StoreUnavailable:
    return StoreUnavailable("The gateway's store does not answer. Try again in a moment.")


def _unavailable(error: Exception) -> StoreUnavailable:
    """The failure as our own; the sentence holds nothing of the foreign message, which may name addresses."""
    match error:
        case BusyLoadingError():
            return StoreUnavailable("The gateway's store is starting and still loads its data. Try again in a moment.")
        case ReadOnlyError():
            return StoreUnavailable("The gateway's store takes no writes at the moment. Try again in a moment.")
        case OutOfMemoryError():
            return StoreUnavailable("The gateway's store is out of memory; its operator must give it more.")
        case AuthenticationError() | NoPermissionError():
            return StoreUnavailable("The gateway's store refuses the gateway; its operator must check the credentials.")
        case ClusterDownError() | RedisConnectionError() | RedisTimeoutError() | OSError():
            return _no_answer()
    return StoreUnavailable(_refusal(error))


def _refusal(error: Exception) -> str:
    """What follows from an answer that is an error: writes are refused while the disk takes none (MISCONF)."""
    text = str(error)
    if "No space left" in text:
        return "The disk of the gateway's store is full; its operator must make room."
    if "MISCONF" in text:
        return "The gateway's store cannot write to its disk; its operator must look into its log."
    return f"The gateway's store refused a command ({type(error).__name__}). Tell the operator."
