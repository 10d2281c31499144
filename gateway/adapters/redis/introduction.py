"""Before anything else is asked of a store: it must be fit to hold the gateway's state, and this deployment's.

A store that is not there yet keeps no process from starting: the connection stays shut, so that whatever needs the
store is refused at once, and the store is asked once a second until it answers. One that answers and is unfit ends the
start, or by then the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway.adapters.redis.check import UnfitServer, check_deployment, check_server, end_lease_of_another_start
from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.jobs import RedisJobs
from gateway.adapters.redis.refusals import refusal, waiting
from gateway.domain.errors import StoreUnavailable

ASK_EVERY_S = 1.0


def _say_nothing(_reason: str) -> None:
    """For who does not tell."""


class Introduction:
    """One process and its store. `connect` opens a connection to ask with; `connection` is the process's own, shut."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        connection: Connection,
        jobs: RedisJobs,
        has_run_before: Callable[[], Awaitable[bool]],
    ) -> None:
        self._connect = connect
        self._connection = connection
        self._jobs = jobs
        self._has_run_before = has_run_before
        self._owes_word = False
        self.is_over = False
        self.waits_for = ""

    async def attempt(self, deployment_id: str) -> None:
        """Ask once; then the connection is open. Raises UnfitServer, also for a store that refuses for good; and
        StoreUnavailable for one that is not there yet: `waits_for` is the reason then.
        """
        asking = self._connect()
        try:
            await check_server(asking)
            is_empty = await check_deployment(asking, deployment_id)
            await end_lease_of_another_start(asking)
        except StoreUnavailable as error:
            if reason := await refusal(asking.url, error):
                raise UnfitServer(reason) from error
            self.waits_for = waiting(error)
            raise
        finally:
            await asking.close()
        self._jobs.belongs_to(deployment_id, has_lost_data=is_empty and await self._has_run_before())
        self._connection.open()
        self.is_over = True

    async def insist(self, deployment_id: str, on_waiting: Callable[[str], None] = _say_nothing) -> None:
        """Ask until the store is there; `on_waiting` is told each time what is waited for. Raises UnfitServer."""
        while not self.is_over or self._owes_word:
            try:
                if not self.is_over:
                    await self.attempt(deployment_id)
                if self._owes_word:
                    await self._jobs.keys_changed()
                    self._owes_word = False
            except StoreUnavailable:
                on_waiting(self.waits_for)
                await asyncio.sleep(ASK_EVERY_S)

    async def keys_changed(self) -> None:
        """Tell every process of keys that changed: now or, where the store is not there yet, once it is. Fulfils
        `ports.Announcer`.
        """
        if self.is_over:
            await self._jobs.keys_changed()
        else:
            self._owes_word = True
