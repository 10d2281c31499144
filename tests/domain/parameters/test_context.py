import pytest

from gateway.domain.jobs import Operation
from gateway.domain.parameters.context import Draft, adjustment
from tests.domain.pool import CONTEXT, shaped


def draft(**fields):
    return Draft(
        Operation.TXT2IMG, CONTEXT, dict(fields), asked={"steps": 20, "prompt": "x"}, forced=frozenset({"seed"})
    )


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("steps", "forced", 25), "steps=25 (forced)"),
        (("hr_scale", "clamped from 4", 1.5), "hr_scale=1.5 (clamped from 4)"),
        (("tiling", "forced", True), "tiling=true (forced)"),
        (("x\r\ny,z\x7f\u20ac", "dropped", None), "x??y;z?? (dropped)"),
    ],
)
def test_an_adjustment_is_safe_in_a_header(parts, text):
    name, why, value = parts
    assert adjustment(name, why, value) == text


def test_a_long_name_is_shortened():
    assert len(adjustment("n" * 9_999, "resolved from " + "m" * 9_999)) < 200


def test_a_bound_is_told_once_with_the_first_value_and_not_when_the_caller_asked_for_the_outcome():
    one = draft(steps=90, cfg_scale=30.0)
    for value in (80, 20):
        one.clamp("steps", value)
    for value in (9.0, 4.5):
        one.clamp("cfg_scale", value)
    one.tell_clamped()
    assert one.told == ["cfg_scale=4.5 (clamped from 30)"]


def test_what_the_key_forced_is_told_by_its_outcome_only():
    one = draft(seed=1)
    one.tell_change("seed", "resolved from x", 1)
    one.tell_loss("seed", "seed")
    one.tell_loss("prompt", "<a:...>")
    assert one.told == ["<a:...> (dropped)"]


def test_as_many_seeds_come_back_as_pictures_were_asked():
    assert shaped({"batch_size": 2, "n_iter": 3}).images_asked == 6
