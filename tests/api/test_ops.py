"""Is it alive, is it ready: in every state."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.api.ops import OpsRoutes

WELL = {"store": {"ok": True}, "pool": {"ok": True, "backends": 2}}


@dataclass
class State:
    serving: bool = True
    told: dict[str, Any] = field(default_factory=lambda: dict(WELL))

    def is_serving(self) -> bool:
        return self.serving

    def parts(self) -> dict[str, Any]:
        return self.told


@pytest.mark.parametrize(
    ("state", "status", "word"),
    [
        (State(), 200, "ready"),
        (State(told=WELL | {"store": {"ok": False}}), 200, "degraded"),
        (State(told=WELL | {"pool": {"ok": False, "backends": 0}}), 200, "degraded"),
        (State(serving=False), 503, "starting or draining"),
        (State(serving=False, told={"store": {"ok": False}}), 503, "starting or draining"),
        (State(told={}), 200, "ready"),
    ],
)
async def test_readiness_is_lost_only_while_starting_or_draining_and_parts_are_told(state, status, word):
    answer = await OpsRoutes(state).readyz(None)
    assert (answer.status_code, json.loads(answer.body)) == (status, {"status": word, **state.told})


async def test_a_process_is_alive_whatever_its_state():
    answer = await OpsRoutes(State(serving=False, told={"store": {"ok": False}})).livez(None)
    assert (answer.status_code, json.loads(answer.body)) == (200, {"status": "alive"})
