"""Which backends there are: those the configuration declares, and those that were added while the gateway runs; and
which of them drain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from gateway.domain.backends import Backend
from gateway.domain.managed import KeptBackend
from gateway.flow.manage import Manager

READ_EVERY_S = 2.0


class Roster:
    """Every backend by name; a declared one counts before one of the same name that was added."""

    def __init__(self, declared: Mapping[str, Backend], manager: Manager) -> None:
        self._declared = dict(declared)
        self._manager = manager
        self._backends: Mapping[str, Backend] = self._declared

    def backends(self) -> Mapping[str, Backend]:
        """All of them, as of the last reading."""
        return self._backends

    def listed(self) -> tuple[Backend, ...]:
        """All of them, as of the last reading."""
        return tuple(self._backends.values())

    async def run(self) -> None:
        """Read it, every few seconds, for ever. Errors of the database end it, to be started again."""
        while True:
            await self.read()
            await asyncio.sleep(READ_EVERY_S)

    async def read(self) -> None:
        """Read what was added and what drains. Raises StoreUnavailable; then the last reading stays."""
        kept, draining = await self._manager.all_of(KeptBackend), await self._manager.draining()
        every = {one.name: one.backend for one in kept} | self._declared
        self._backends = {name: replace(one, is_draining=name in draining) for name, one in every.items()}
