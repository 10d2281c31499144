"""Every operation of SD.Next is served here, answered from the gateway's own state, or refused for a reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.routing import Match

from gateway.adapters.metrics import Metrics
from gateway.api.refused import REFUSED
from gateway.asgi import routes
from gateway.flow.account import Account
from gateway.flow.byte_budget import ByteBudget
from gateway.flow.call_limits import CallLimits
from gateway.flow.readiness import Readiness
from gateway.wiring.serving import Services
from tests.flow.world import Keys, LoopStore, MemoryLedger, Process
from tests.support.fake_backends import SimulatedBackends

OPERATIONS = (Path(__file__).parent / "sdnext_operations.txt").read_text().splitlines()
"""Method and path of each operation in the description that an SD.Next gives of itself."""

FORWARDED = {
    "POST /sdapi/v1/txt2img",
    "POST /sdapi/v1/img2img",
    "POST /sdapi/v1/extra-single-image",
    "POST /sdapi/v1/extra-batch-images",
}
FRONT_PAGE = {"GET /", "HEAD /"}


@pytest.fixture
async def served():
    """The operations that some route takes."""
    process = Process("one", LoopStore(), SimulatedBackends({}), Keys(), MemoryLedger())
    account = Account(MemoryLedger(), process.own, lambda: 0.0)
    readiness = Readiness(process.pulse, process.current)
    table = routes(
        Services(
            process.gateway, process.current, readiness, ByteBudget(), CallLimits(), account, process.rescans, Metrics()
        )
    )
    return {operation for operation in OPERATIONS if any(takes(route, operation) for route in table)}


def takes(route, operation):
    method, path = operation.split(" ")
    scope = {"type": "http", "method": method, "path": re.sub(r"{\w+}", "x", path), "headers": []}
    return route.matches(scope)[0] is Match.FULL


def test_the_list_of_operations_is_whole():
    assert len(OPERATIONS) == len(set(OPERATIONS)) == 164


async def test_every_operation_is_served_or_refused_for_a_reason_and_none_is_both(served):
    others = set(OPERATIONS) - FRONT_PAGE
    assert (served - FRONT_PAGE) ^ REFUSED.keys() == others
    assert served & REFUSED.keys() == set()


def test_each_refusal_names_an_operation_and_a_reason():
    assert REFUSED.keys() <= set(OPERATIONS)
    assert all(len(reason) > 20 for reason in REFUSED.values())


async def test_the_four_operations_that_reach_a_backend_are_served(served):
    assert served >= FORWARDED
