from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.sdnext import parameters
from gateway.simulator.sdnext.facts import load_facts
from gateway.simulator.sdnext.failures import Crashed

FACTS = load_facts()
DEFAULTS = {name: default for name, (_, default) in FACTS.fields["img2img"].items()}


@given(st.integers(0, 10_000))
def test_a_side_is_a_multiple_of_eight_and_not_larger_than_asked(side: int) -> None:
    usable = parameters.usable_side(side)

    assert usable == 1024 if side < 8 else (usable % 8 == 0 and side - 8 < usable <= side)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_an_init_image_only_ever_grows_to_the_next_multiple_of_eight(width: int, height: int) -> None:
    made = parameters.init_size((width, height), DEFAULTS)

    assert all(side % 8 == 0 and old <= side < old + 8 for side, old in zip(made, (width, height), strict=True))


@given(st.sampled_from(sorted(FACTS.samplers)), st.sampled_from(["karras", "betas", "Karras", "", None]))
def test_with_an_euler_checkpoint_the_scheduler_is_always_an_euler_one(name: str, sigma: str | None) -> None:
    assert parameters.real_sampling(name, sigma, "EulerDiscreteScheduler", FACTS).scheduler.startswith("Euler")


@given(st.sampled_from(sorted(FACTS.samplers)))
def test_every_listed_sampler_is_accepted_in_any_case(name: str) -> None:
    assert parameters.asked_sampler({"sampler_name": name.upper(), "sampler_index": 0}, FACTS) == name.upper()


@pytest.mark.parametrize(("steps", "said"), [(10**12, "7.28 TiB"), (10**10, "74.5 GiB")])
def test_absurd_steps_crash_with_the_memory_they_would_need(steps: int, said: str) -> None:
    with pytest.raises(Crashed, match=said):
        parameters.crash_on_impossible(DEFAULTS | {"steps": steps})


def test_more_images_than_any_memory_holds_are_a_crash_here_too() -> None:
    with pytest.raises(Crashed):
        parameters.crash_on_impossible(DEFAULTS | {"batch_size": 1000, "n_iter": 2})


def test_a_second_pass_must_be_forced_and_have_a_strength() -> None:
    asked = DEFAULTS | {"enable_hr": True, "hr_second_pass_steps": 5}

    assert parameters.second_pass_steps(asked) == 0
    assert parameters.second_pass_steps(asked | {"hr_force": True, "hr_denoising_strength": 0.5}) == 5


def test_a_masks_base64_is_not_echoed() -> None:
    assert parameters.describe(DEFAULTS | {"mask": "AAAA", "init_images": ["BBBB"]})["mask"] is None
