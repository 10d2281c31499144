"""Which backends there are."""

from __future__ import annotations

from dataclasses import replace

from gateway.domain.backends import Backend
from gateway.domain.managed import KeptBackend
from gateway.flow.roster import Roster

DECLARED = Backend("gpu-1", "http://declared:7860")
ADDED = Backend("gpu-2", "http://added:7860")


class Kept:
    """What an operator added, as the manager tells it."""

    def __init__(self, *backends: Backend) -> None:
        self.backends = backends
        self.names_draining = frozenset()

    async def draining(self):
        return self.names_draining

    async def all_of(self, kind):
        assert kind is KeptBackend
        return [KeptBackend(backend) for backend in self.backends]


async def test_backends_added_while_it_runs_stand_beside_declared_ones():
    kept = Kept()
    roster = Roster({"gpu-1": DECLARED}, kept)
    await roster.read()
    assert roster.backends() == {"gpu-1": DECLARED}
    kept.backends = (ADDED,)
    await roster.read()
    assert roster.backends() == {"gpu-1": DECLARED, "gpu-2": ADDED}
    assert set(roster.listed()) == {DECLARED, ADDED}


async def test_a_backend_that_was_removed_is_gone_at_the_next_reading():
    kept = Kept(ADDED)
    roster = Roster({}, kept)
    await roster.read()
    kept.backends = ()
    await roster.read()
    assert roster.backends() == {}


async def test_what_the_configuration_declares_counts_before_what_was_added_under_its_name():
    roster = Roster({"gpu-1": DECLARED}, Kept(Backend("gpu-1", "http://elsewhere:7860")))
    await roster.read()
    assert roster.backends() == {"gpu-1": DECLARED}


async def test_what_drains_is_marked_whether_it_was_declared_or_added_and_a_stranger_is_not():
    kept = Kept(ADDED)
    roster = Roster({"gpu-1": DECLARED}, kept)
    kept.names_draining = frozenset({"gpu-1", "gpu-2", "gone"})
    await roster.read()
    assert roster.backends() == {
        "gpu-1": replace(DECLARED, is_draining=True),
        "gpu-2": replace(ADDED, is_draining=True),
    }
    kept.names_draining = frozenset()
    await roster.read()
    assert roster.backends() == {"gpu-1": DECLARED, "gpu-2": ADDED}
