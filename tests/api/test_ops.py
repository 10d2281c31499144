"""What balancers ask."""

from __future__ import annotations

import pytest

from gateway.api.ops import OpsRoutes
from tests.api.support import application, asking

FINE, AWAY = {"store": {"ok": True}}, {"store": {"ok": False}}


class State:
    """The state of a process, as it is told."""

    def __init__(self, serving, parts):
        self.is_serving = lambda: serving
        self.parts = lambda: parts


@pytest.mark.parametrize(
    ("serving", "parts", "status", "told"),
    [
        (True, FINE, 200, "ready"),
        (True, AWAY, 200, "degraded"),
        (False, FINE, 503, "starting or draining"),
        (False, AWAY, 503, "starting or draining"),
    ],
)
async def test_a_store_that_is_away_takes_no_process_out_of_its_balancer(serving, parts, status, told):
    ops = OpsRoutes(State(serving, parts))
    async with asking(application({"/livez": ops.livez, "/readyz": ops.readyz}, methods=["GET"])) as client:
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()) == (status, {"status": told, **parts})
        assert (await client.get("/livez")).json() == {"status": "alive"}
