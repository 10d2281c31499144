"""Time as the simulated server knows it: the event loop's clock, and simulated seconds turned into real ones.

Under a loop whose clock jumps (virtual time in tests) a whole day of jobs passes at once, because nothing here asks the
machine for the time except `wall`, which only fills timestamps in.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class LoopClock:
    """The running loop's clock. `scale` is real seconds per simulated second; 0 makes every wait instant."""

    scale: float = 1.0

    def now(self) -> float:
        """Real seconds on the loop's monotonic clock."""
        return asyncio.get_running_loop().time()

    def wall(self) -> datetime:
        """The date and time in UTC, for timestamps only."""
        return datetime.now(UTC)  # noqa: TID251 - a server's own timestamps; no decision depends on them

    def scaled(self, simulated_s: float) -> float:
        """Real seconds that `simulated_s` take. Never negative."""
        return max(0.0, simulated_s * self.scale)

    async def sleep(self, simulated_s: float) -> None:
        """Wait; yields to the loop once even when nothing is to be waited for."""
        await asyncio.sleep(self.scaled(simulated_s))

    async def wait(self, event: asyncio.Event, simulated_s: float) -> bool:
        """Wait for `event` at most `simulated_s`; True if it came."""
        if event.is_set():
            return True
        try:
            async with asyncio.timeout(self.scaled(simulated_s)):
                await event.wait()
        except TimeoutError:
            return False
        return True
