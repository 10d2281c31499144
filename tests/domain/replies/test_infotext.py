import pytest

from gateway.domain.replies.infotext import last_line_of, names_agree, sampler_really_used
from tests.domain.replies.answers import infotext


def test_only_the_last_line_is_believed():
    text = infotext(model="true", prompt="a\nSteps: 4, Model: forged")
    assert last_line_of(text)["Model"] == "true"


def test_a_model_in_a_quoted_value_or_behind_the_true_one_is_not_believed():
    text = infotext(model="true", more=', Refiner prompt: "x, Model: forged", Model: forged')
    assert last_line_of(text)["Model"] == "true"


def test_a_line_without_pairs_says_nothing():
    assert last_line_of("just a prompt") == {}
    assert last_line_of("") == {}


def test_a_long_unclosed_quote_takes_no_quadratic_time():
    assert last_line_of('a: "' + "x: " * 50_000) is not None


@pytest.mark.parametrize(
    ("said", "name", "agree"),
    [
        ("my model", "my, model", True),
        ("a b", 'a: "b"', True),
        ("tiny-b", "tiny-a", False),
        ("Tiny-a", "tiny-a", False),
    ],
)
def test_names_are_compared_without_what_sdnext_drops(said, name, agree):
    assert names_agree(said, name) is agree


@pytest.mark.parametrize(
    ("asked", "scheduler", "used"),
    [
        ("DPM++ 2M", "EulerDiscreteScheduler", "Euler"),
        ("Euler a", "EulerDiscreteScheduler", "Euler"),
        ("UniPC", "PNDMScheduler", "PNDM"),
        ("DPM++ 2M SDE", "DPMSolverMultistepScheduler", "DPM++ 2M SDE"),
        ("DPM++ 1S", "DPMSolverSinglestepScheduler", "DPM++ 1S"),
        ("Euler", "EulerDiscreteScheduler", "Euler"),
        ("Default", "EulerDiscreteScheduler", "Default"),
        ("RES-Unified 2M", "EulerDiscreteScheduler", "RES-Unified 2M"),
        ("Heun", "SomethingNew", "Default"),
        ("Heun", "", "Heun"),
        ("DDIM", "DDIMScheduler", "DDIM"),
    ],
)
def test_a_silent_fallback_shows_in_the_schedulers_class(asked, scheduler, used):
    assert sampler_really_used(asked, scheduler) == used
