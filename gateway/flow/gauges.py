"""Once a second, what this process is like: ready, leading, how much it holds, how its loops and its store fare."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gateway.flow.byte_budget import ByteBudget
from gateway.flow.dispatch import Dispatcher
from gateway.flow.held import HeldJobs
from gateway.flow.keep_books import Bookkeeper
from gateway.flow.leave import Exit
from gateway.flow.pulse import Pulse
from gateway.flow.readiness import Readiness
from gateway.flow.snapshot import CurrentCatalogue
from gateway.flow.supervise import Supervisor
from gateway.ports.metrics import Meter, Sample

SAMPLE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Gauges:
    """Samples the parts of one process."""

    meter: Meter
    readiness: Readiness
    dispatcher: Dispatcher
    held: HeldJobs
    way_out: Exit
    pulse: Pulse
    supervisor: Supervisor
    current: CurrentCatalogue
    byte_budget: ByteBudget
    bookkeeper: Bookkeeper

    async def run(self) -> None:
        """Sample for ever."""
        clock = asyncio.get_running_loop().time
        late_s = 0.0
        while True:
            self.meter.sampled(self.sample(late_s))
            due = clock() + SAMPLE_EVERY_S
            await asyncio.sleep(SAMPLE_EVERY_S)
            late_s = clock() - due

    def sample(self, late_s: float) -> Sample:
        """The state now; `late_s` is how late the last timer came, in seconds."""
        waiting, seen = len(self.held.waiting()), self.dispatcher.pool
        return Sample(
            is_ready=self.readiness.is_serving(),
            is_leading=self.dispatcher.is_leading,
            waiting=waiting,
            running=len(self.held) - waiting,
            unheard=self.way_out.unheard,
            store_silent_s=max(0.0, asyncio.get_running_loop().time() - self.pulse.last_heard),
            late_s=late_s,
            backends=dict(seen.states) if seen else {},
            recovering=frozenset(name for name, slot in seen.slots.items() if slot.is_recovering)
            if seen
            else frozenset(),
            loops={loop.name: (loop.is_running, loop.restarts) for loop in self.supervisor.states},
            models=len(self.current.catalogue.models),
            set_aside=self.bookkeeper.aside,
            budget_bytes=self.byte_budget.total,
            budget_used_bytes=self.byte_budget.used,
            budget_waiting=self.byte_budget.waiting,
        )
