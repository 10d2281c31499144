from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.sdnext.checkpoints import Weights, make_checkpoint
from gateway.simulator.sdnext.loras import LoraFolder, Strengths, apply_loras, without_tags

WANTED = st.dictionaries(st.sampled_from("abc"), st.sampled_from([0.1, 0.5, 1.0])).map(
    lambda d: tuple(sorted(d.items()))
)


def weights() -> Weights:
    return Weights(make_checkpoint("m"))


def test_a_tag_may_lack_its_strength_and_a_broken_one_counts_as_one() -> None:
    folder = LoraFolder(["inky", "styles/other"])

    assert folder.wanted("x <lora:inky> <lora:other:strong>") == (("inky", 1.0), ("styles/other", 1.0))
    assert without_tags("a cat <lora:inky:0.5>") == "a cat"


@given(st.lists(WANTED, max_size=6))
def test_without_native_fusing_every_job_gets_what_it_asked_for_and_nothing_is_damaged(
    history: list[Strengths],
) -> None:
    loaded = weights()

    assert [apply_loras(loaded, wanted, fuse_native=False) for wanted in history] == history
    assert loaded.damage == ()


@given(st.lists(WANTED, max_size=6))
def test_weights_are_damaged_exactly_when_a_job_got_a_wrong_strength(history: list[Strengths]) -> None:
    loaded = weights()
    wrong = [wanted for wanted in history if apply_loras(loaded, wanted, fuse_native=True) != wanted]

    assert bool(loaded.damage) is bool(wrong)
