import pytest

from gateway.simulator.pool.sweep import resized, sizes
from tests.simulator.pool.traces import a_gpu


@pytest.mark.parametrize(("text", "found"), [("4..6", (4, 5, 6)), ("8", (8,)), ("4,8", (4, 8))])
def test_sizes_are_a_number_some_numbers_or_a_range(text, found):
    assert sizes(text) == found


@pytest.mark.parametrize("text", ["", "a..b", "6..4", "0", "2,-1", "1.5"])
def test_sizes_that_name_no_pool_are_refused_with_how_to_write_them(text):
    with pytest.raises(ValueError, match=r"write 8, 4,8 or 4\.\.12"):
        sizes(text)


def test_a_smaller_pool_is_the_first_gpus_and_a_larger_one_repeats_them_under_new_names():
    gpus = (a_gpu("fast"), a_gpu("slow", speed=0.5))
    assert [gpu.name for gpu in resized(gpus, 1)] == ["fast"]
    larger = resized(gpus, 5)
    assert [gpu.name for gpu in larger] == ["fast", "slow", "fast+1", "slow+1", "fast+2"]
    assert [gpu.seconds_per_megapixel_step for gpu in larger] == [0.25, 0.5, 0.25, 0.5, 0.25]
