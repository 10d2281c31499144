"""What a key is told about itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain.keys import Grants, Names
from gateway.domain.overrides import Overrides
from gateway.domain.plans import Plan
from gateway.domain.usage import Measure, Window
from gateway.flow.account import Account
from tests.flow.world import CALLER, MemoryLedger
from tests.support.memory_own import MemoryOwn
from tests.support.memory_store import MemoryStore

NOVEMBER_22_NOON = 1_795_348_800.0


@pytest.fixture
def ledger():
    return MemoryLedger(used_before=30.0)


async def told(ledger, **changes):
    own = MemoryOwn(MemoryStore(), "one")
    return await Account(ledger, own, lambda: NOVEMBER_22_NOON).of(replace(CALLER, **changes))


async def test_usage_is_of_this_utc_day_and_month_and_what_is_left_never_negative(ledger):
    plan = Plan(images_per_day=100, images_per_month=20, gpu_seconds_per_month=45.5)
    usage = (await told(ledger, plan=plan))["usage"]
    assert usage == {
        "images_a_day": {"used": 30.0, "quota": 100, "left": 70.0},
        "images_a_month": {"used": 30.0, "quota": 20, "left": 0.0},
        "gpu_seconds_a_day": {"used": 30.0, "quota": None, "left": None},
        "gpu_seconds_a_month": {"used": 30.0, "quota": 45.5, "left": 15.5},
    }
    since = {window: at for _, measure, window, at in ledger.asked if measure is Measure.IMAGES}
    assert since == {Window.DAY: 1_795_305_600.0, Window.MONTH: 1_793_491_200.0}


async def test_a_key_is_told_its_limits_grants_and_overrides_and_never_its_secret(ledger):
    grants = Grants(models=Names(("red", "x*"), ("xl",)))
    overrides = Overrides(force={"steps": 20}, forbid=frozenset({"tiling"}), maximum={"width": 512})
    answer = await told(ledger, grants=grants, overrides=overrides, default_model="red")
    assert answer["grants"]["models"] == {"allow": ["red", "x*"], "deny": ["xl"]}
    assert answer["overrides"] == {
        "force": {"steps": 20}, "default": {}, "forbid": ["tiling"], "minimum": {}, "maximum": {"width": 512},
    }  # fmt: skip
    assert (answer["plan"]["max_concurrency"], answer["default_model"]) == (8, "red")
    assert (answer["key"], answer["jobs"]) == ("sk-aaaaa...", {"running": 0, "waiting": 0})
