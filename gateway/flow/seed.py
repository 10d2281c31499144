"""What a start makes sure of in the database: the demo's tenants, or the first credentials of an empty one.

Several processes start at once; each step may be repeated by all of them and changes nothing the second time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.domain.keys import Grants, Names
from gateway.domain.managed import NameTaken, Tenant
from gateway.flow.changes import Author
from gateway.flow.credentials import FirstRun, KeyRequest
from gateway.flow.manage import Manager

DEMO_PLAN = "demo"
# Somebody who tries it out must meet the gateway, not its limits; the second tenant has the standard plan.
DEMO_LIMITS = {"requests_per_minute": 600.0, "burst": 200, "max_queued": 200, "max_concurrency": 8, "max_wait_s": 300.0}


@dataclass(frozen=True, slots=True)
class DemoKeys:
    """The demo's two keys; the second may use `second_model` only."""

    first: str = field(repr=False)
    second: str = field(repr=False)
    second_model: str


async def seed_demo(manager: Manager, author: Author, keys: DemoKeys) -> None:
    """Two tenants, each with its key."""
    try:
        await manager.create_plan(author, DEMO_PLAN, DEMO_LIMITS)
    except NameTaken:
        pass  # an earlier start, or another process of this one
    await manager.credentials.ensure_key(author, KeyRequest("demo", "demo", secret=keys.first))
    grants = Grants(models=Names((keys.second_model,) if keys.second_model else ()))
    await manager.credentials.ensure_key(author, KeyRequest("demo-2", "demo", secret=keys.second, grants=grants))
    if (await manager.show(Tenant, "demo")).plan != DEMO_PLAN:
        await manager.change(author, (Tenant, "demo"), {"plan": DEMO_PLAN})


async def first_run(manager: Manager, author: Author, admin_token: str, key: str) -> FirstRun | None:
    """The credentials of a database that was empty, to be printed once by exactly one process; else None."""
    return await manager.credentials.first_run(author, admin_token, key)
