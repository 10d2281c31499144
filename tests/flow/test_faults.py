"""What one process learns from failed attempts, on the clock of its loop."""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.errors import AttemptFailed, BackendBroke, BackendLacks, BackendUnreachable, GatewayError
from gateway.domain.faults import Probe
from gateway.domain.replies import Flaw
from gateway.flow.faults import Faults, attempted, fingerprint_of
from tests.domain.pool import backend, context, shaped

pytestmark = pytest.mark.virtual_time

POOL = context(*(backend(f"gpu-{number}") for number in range(6)))
JOB = shaped({}, POOL)
PRINT = fingerprint_of(JOB)
ALL = JOB.runnable_on


def on(name, job="j1", tenant="t1"):
    return attempted(job, PRINT, tenant, JOB, name)


def an_empty_answer():
    return AttemptFailed("0 of 1 images came back", Flaw.EMPTY, Flaw.EMPTY)


async def test_an_empty_answer_has_the_checkpoint_probed_once_and_only_a_failed_probe_is_held_against_it():
    probes = []
    faults = Faults(probes.append)
    faults.failed(on("gpu-1"), an_empty_answer())
    faults.failed(on("gpu-1", job="j2"), an_empty_answer())
    assert (probes, faults.candidates(JOB, ALL)) == ([Probe("gpu-1", "tiny-a")], ALL)
    faults.probe_failed(probes[0])
    assert faults.candidates(JOB, ALL) == ALL - {"gpu-1"}


async def test_a_verified_answer_there_makes_the_place_good_again():
    faults = Faults(lambda _probe: None)
    faults.probe_failed(Probe("gpu-1", "tiny-a"))
    faults.succeeded(on("gpu-1", job="j2"))
    assert faults.candidates(JOB, ALL) == ALL


async def test_a_place_that_is_out_comes_back_with_time_by_the_clock_of_the_loop():
    faults = Faults(lambda _probe: None)
    faults.probe_failed(Probe("gpu-1", "tiny-a"))
    await asyncio.sleep(3600)
    assert faults.candidates(JOB, ALL) == ALL


async def test_where_the_book_leaves_nobody_the_job_may_still_try():
    faults = Faults(lambda _probe: None)
    faults.probe_failed(Probe("gpu-1", "tiny-a"))
    assert faults.candidates(JOB, frozenset({"gpu-1"})) == {"gpu-1"}


async def test_a_job_under_which_two_backends_died_is_refused_as_it_is():
    faults = Faults(lambda _probe: None)
    for name in ("gpu-1", "gpu-2"):
        faults.failed(on(name), BackendBroke("It broke off."))
    with pytest.raises(GatewayError, match="change the request"):
        faults.refuse(JOB, lambda: PRINT)


@pytest.mark.parametrize(
    "failure", [BackendUnreachable("refused"), BackendLacks("gpu-1", "model", "tiny-a")], ids=["refused", "lacks"]
)
async def test_a_job_that_was_never_sent_is_held_against_nobody(failure):
    probes = []
    faults = Faults(probes.append)
    for name in ("gpu-1", "gpu-2", "gpu-3"):
        faults.failed(on(name), failure)
    faults.refuse(JOB, lambda: PRINT)
    assert (probes, faults.candidates(JOB, ALL)) == ([], ALL)


async def test_a_checkpoint_that_loads_nowhere_is_refused_for_a_while():
    faults = Faults(lambda _probe: None)
    for name in ("gpu-1", "gpu-2"):
        faults.failed(on(name), AttemptFailed("nothing came", Flaw.EMPTY, Flaw.EMPTY, is_load_failure=True))
    with pytest.raises(GatewayError, match="cannot be loaded"):
        faults.refuse(JOB, lambda: PRINT)
    await asyncio.sleep(3600)
    faults.refuse(JOB, lambda: PRINT)


async def test_a_backend_that_came_back_is_held_to_nothing():
    faults = Faults(lambda _probe: None)
    faults.probe_failed(Probe("gpu-1", "tiny-a"))
    faults.came_back("gpu-1")
    assert faults.candidates(JOB, ALL) == ALL
