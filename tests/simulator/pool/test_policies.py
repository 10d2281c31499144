import pytest

from gateway.simulator.pool.policies import NAMES, named
from tests.simulator.pool.traces import a_gpu


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_is_found_by_its_own_name(name):
    assert named(name, [a_gpu()]).name == name


def test_an_unknown_policy_is_answered_with_those_there_are():
    with pytest.raises(KeyError, match="llama-swap"):
        named("best", [a_gpu()])
