"""Is this process fit to be sent calls, and how does each part fare. A store that is away never makes it unready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.domain.backends import BackendState
from gateway.flow.pulse import Pulse
from gateway.flow.snapshot import CurrentCatalogue
from gateway.flow.supervise import Supervisor

STORE_SILENT_S = 3.0
MOST_NAMED = 100  # models that nobody serves: /readyz is asked every second


class Readiness:
    """Fulfils what `/readyz` reports. `waits_for`: what keeps the start from ending, "" for nothing.

    `outage_of` tells why `redis` or `database` cannot be worked with, "" when it can.
    """

    def __init__(
        self, pulse: Pulse, current: CurrentCatalogue, outage_of: Callable[[str], str] = lambda _store: ""
    ) -> None:
        self._pulse = pulse
        self._current = current
        self._outage_of = outage_of
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
        hears_store = self._pulse.last_beat is not None and silent_s < STORE_SILENT_S
        store_reason, database_reason = self.waits_for or self._outage_of("redis"), self._outage_of("database")
        return {
            "store": {"ok": hears_store} | ({"reason": store_reason} if store_reason else {}),
            "database": {"ok": not database_reason} | ({"reason": database_reason} if database_reason else {}),
            "pool": self._pool(),
            "loops": {
                "ok": all(loop.is_running for loop in loops),
                "restarts": {loop.name: loop.restarts for loop in loops if loop.restarts},
                "errors": {loop.name: loop.last_error for loop in loops if loop.last_error and not loop.is_running},
            },
        }

    def _pool(self) -> dict[str, Any]:
        """How many backends are up, why the others are not, and which models no backend that is up has."""
        catalogue, standings = self._current.catalogue, self._pulse.standings
        up = {name for name, (state, _) in standings.items() if state == BackendState.UP}
        unserved = [model.name for model in catalogue.models if up.isdisjoint(model.on)]
        told: dict[str, Any] = {
            "ok": bool(up) and not unserved,
            "backends": len(standings.keys() | set(catalogue.backends)),
            "up": len(up),
            "models": len(catalogue.models),
        }
        if others := {name: standing for name, standing in standings.items() if name not in up}:
            told["not_up"] = {
                name: {"state": state} | ({"reason": condition.reason} if condition.reason else {})
                for name, (state, condition) in sorted(others.items())
            }
        if unserved:
            told["models_that_nobody_serves"] = unserved[:MOST_NAMED]
        return told
