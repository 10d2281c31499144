"""Is this process fit to be sent calls, and how does each part fare. A store that is away never makes it unready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.flow.pulse import Pulse
from gateway.flow.snapshot import CurrentCatalogue
from gateway.flow.supervise import Supervisor

STORE_SILENT_S = 3.0


class Readiness:
    """Fulfils what `/readyz` reports. `waits_for`: what keeps the start from ending, "" for nothing."""

    def __init__(self, pulse: Pulse, current: CurrentCatalogue) -> None:
        self._pulse = pulse
        self._current = current
        self._supervisor: Supervisor | None = None
        self._is_draining: Callable[[], bool] = lambda: False
        self.has_started = False
        self.waits_for = ""

    def watch(self, supervisor: Supervisor, is_draining: Callable[[], bool]) -> None:
        """Report these loops too, and drain when told."""
        self._supervisor, self._is_draining = supervisor, is_draining

    @property
    def pulse(self) -> Pulse:
        """This process's tie to the store."""
        return self._pulse

    def is_serving(self) -> bool:
        """Whether new calls should be sent here: false only while starting or draining."""
        return self.has_started and not self._is_draining()

    def parts(self) -> dict[str, Any]:
        """Each part's state, for people and alerts."""
        loops = self._supervisor.states if self._supervisor else ()
        silent_s = asyncio.get_running_loop().time() - self._pulse.last_heard
        backends = self._current.catalogue.backends
        return {
            "store": {"ok": self._pulse.last_beat is not None and silent_s < STORE_SILENT_S}
            | ({"reason": self.waits_for} if self.waits_for else {}),
            "pool": {"ok": bool(backends), "backends": len(backends), "models": len(self._current.catalogue.models)},
            "loops": {
                "ok": all(loop.is_running for loop in loops),
                "restarts": {loop.name: loop.restarts for loop in loops if loop.restarts},
                "errors": {loop.name: loop.last_error for loop in loops if loop.last_error and not loop.is_running},
            },
        }
