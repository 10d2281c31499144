from dataclasses import replace

from gateway.domain.scheduling import Running
from tests.domain.scheduling.builders import a_backend


def test_a_backend_is_free_only_while_it_is_usable_and_runs_nothing():
    free = a_backend("b1", "A")
    running = Running("1", "t", "A", started_at=0.0)
    assert free.is_free
    assert not replace(free, usable=False).is_free
    assert not replace(free, running=running).is_free
