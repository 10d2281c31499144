"""Which stores can be worked with."""

from __future__ import annotations

from typing import Protocol


class StoreHealth(Protocol):
    """Is told of every attempt at a store, `redis` or `database`. Takes microseconds, never raises and never waits."""

    def worked(self, store: str, *, was_write: bool) -> None:
        """It did what was asked."""

    def failed(self, store: str, reason: str, *, was_write: bool) -> None:
        """It did not, for a reason that lies with it."""
