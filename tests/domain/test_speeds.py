import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.speeds import DEFAULT_SECONDS_PER_MEGAPIXEL_STEP, DEFAULT_SWAP_S, LONGEST_SWAP_S, Speeds


def test_a_pool_that_did_nothing_yet_is_guessed_by_the_defaults():
    speeds = Speeds()
    assert speeds.generation.rate("b1", "A") == DEFAULT_SECONDS_PER_MEGAPIXEL_STEP
    assert speeds.swap.rate("b1", "A") == DEFAULT_SWAP_S


def test_the_first_measurement_replaces_the_guess_and_later_ones_move_it():
    speeds = Speeds()
    speeds.finished_generation("b1", "A", 10.0, 5.0)
    assert speeds.generation.rate("b1", "A") == pytest.approx(0.5)
    for _ in range(40):
        speeds.finished_generation("b1", "A", 10.0, 8.0)
    assert speeds.generation.rate("b1", "A") == pytest.approx(0.8, rel=0.01)


def test_one_absurd_measurement_moves_a_known_speed_by_less_than_twice():
    speeds = Speeds()
    speeds.finished_generation("b1", "A", 10.0, 5.0)
    speeds.finished_generation("b1", "A", 10.0, 5000.0)
    assert speeds.generation.rate("b1", "A") < 1.0


def test_a_new_backend_starts_at_the_median_of_the_pool():
    speeds = Speeds()
    for backend, elapsed_s in (("b1", 1.0), ("b2", 2.0), ("b3", 30.0)):
        speeds.finished_generation(backend, "A", 10.0, elapsed_s)
    assert speeds.generation.rate("new", "A") == pytest.approx(0.2)


def test_a_heavy_checkpoint_is_guessed_heavy_on_a_backend_that_never_ran_it():
    speeds = Speeds()
    for backend, level in (("fast", 1.0), ("slow", 3.0)):
        speeds.finished_generation(backend, "light", 10.0, 2.0 * level)
    for _ in range(30):
        speeds.finished_generation("fast", "heavy", 10.0, 10.0)
        speeds.finished_generation("fast", "light", 10.0, 2.0)
        speeds.finished_generation("slow", "light", 10.0, 6.0)
    assert speeds.generation.rate("slow", "heavy") == pytest.approx(3.0, rel=0.15)


def test_a_swap_is_what_is_left_of_a_job_whose_generation_is_known():
    speeds = Speeds()
    speeds.finished_generation("b1", "A", 10.0, 5.0)
    speeds.finished_swap("b1", "A", 20.0, 40.0)
    assert speeds.swap.rate("b1", "A") == pytest.approx(30.0)


def test_the_first_swap_of_an_unknown_pair_is_split_by_both_guesses():
    speeds = Speeds()
    speeds.finished_swap("b1", "A", 12.0 / DEFAULT_SECONDS_PER_MEGAPIXEL_STEP, 48.0)
    assert speeds.swap.rate("b1", "A") == pytest.approx(24.0)
    assert not speeds.generation.knows("b1", "A")


def test_an_unknown_upscaler_is_thought_ten_times_as_heavy_as_lanczos():
    speeds = Speeds()
    assert speeds.upscale.rate("b1", "4x-Something") == pytest.approx(10 * speeds.upscale.rate("b1", "Lanczos"))
    speeds.finished_upscale("b1", "4x-Something", 4.0, 8.0)
    assert speeds.upscale.rate("b1", "4x-Something") == pytest.approx(2.0)


def test_jobs_without_work_or_time_teach_nothing():
    speeds = Speeds()
    speeds.finished_generation("b1", "A", 0.0, 5.0)
    speeds.finished_generation("b1", "A", 10.0, 0.0)
    speeds.finished_upscale("b1", "Lanczos", 0.0, 5.0)
    assert speeds.dump() == []


def test_a_forgotten_backend_leaves_what_it_taught_about_checkpoints():
    speeds = Speeds()
    speeds.finished_generation("b1", "light", 10.0, 2.0)
    speeds.finished_generation("b1", "heavy", 10.0, 8.0)
    speeds.forget("b1")
    heavy, light = (speeds.generation.rate("b2", name) for name in ("heavy", "light"))
    assert (heavy / light, speeds.generation.knows("b1", "heavy")) == (pytest.approx(4.0), False)


def test_rows_of_a_kind_from_the_future_are_left_out():
    assert Speeds.load([("quantum", "b1", "A", 1.0), ("swap", "b1", "A", 0.0)]).dump() == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["b1", "b2"]), st.sampled_from(["A", "B"]), st.floats(0.1, 90.0), st.floats(0.1, 500.0)
        )
    )
)
def test_speeds_come_back_from_a_dump_as_they_were_and_are_always_above_zero(jobs):
    speeds = Speeds()
    for backend, name, work, elapsed_s in jobs:
        speeds.finished_generation(backend, name, work, elapsed_s)
        speeds.finished_swap(backend, name, work, elapsed_s)
        speeds.finished_upscale(backend, name, work, elapsed_s)
    again = Speeds.load(speeds.dump())
    assert again.dump() == speeds.dump()
    for table, other in zip(
        (speeds.generation, speeds.swap, speeds.upscale), (again.generation, again.swap, again.upscale), strict=True
    ):
        for backend in ("b1", "b2", "new"):
            for name in ("A", "B", "new"):
                assert table.rate(backend, name) == other.rate(backend, name) > 0


def test_first_loads_on_a_busy_machine_are_forgotten_with_the_first_quick_one():
    speeds = Speeds()
    speeds.generation.observed("b1", "A", 0.25)
    speeds.finished_swap("b1", "A", 0.4, 26.0)
    speeds.finished_swap("b1", "A", 0.4, 1.7)
    assert speeds.swap.rate("b1", "A") == pytest.approx(1.6)
    speeds.finished_swap("b1", "A", 0.4, 1.7)
    assert speeds.swap.rate("b1", "A") == pytest.approx(1.6)
    for _ in range(3):
        speeds.finished_swap("b1", "B", 0.4, 1.7)
    assert speeds.swap.rate("b1", "never seen") < 26.0 / 3


def test_one_load_in_three_that_is_held_up_changes_no_swap_time():
    speeds = Speeds()
    for number in range(60):
        speeds.finished_swap("b1", "A", 0.0, 20.0 + 10.0 * number if number % 3 == 2 else 1.7)
    assert speeds.swap.rate("b1", "A") == pytest.approx(1.7)


def test_loads_that_are_held_up_for_ever_longer_are_not_believed_without_bound():
    speeds = Speeds()
    for number in range(100):
        speeds.finished_swap("b1", "A", 0.0, 2.0**number)
    assert speeds.swap.rate("b1", "A") == LONGEST_SWAP_S
    assert speeds.swap.level("b1") <= LONGEST_SWAP_S
    assert speeds.swap.rate("b1", "never seen") <= LONGEST_SWAP_S * 4


def test_a_disk_that_has_become_slower_is_believed_after_a_few_loads():
    speeds = Speeds.load([("swap", "b1", "A", 2.0)])
    for _ in range(3):
        speeds.finished_swap("b1", "A", 0.0, 30.0)
    assert speeds.swap.rate("b1", "A") == 30.0
