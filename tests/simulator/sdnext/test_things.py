from __future__ import annotations

import pytest
from PIL import ImageChops

from gateway.simulator.sdnext.pictures import Painter, Subject
from gateway.simulator.sdnext.things import has_water, palette_for, words_of

RED = (196, 60, 52)


def painted(prompt: str):
    # Below the size at which words are written: only shapes can differ.
    return Painter().paint(Subject(prompt, "aurora-xl", 7, 150, 120)).convert("RGB")


def test_who_asks_for_a_lighthouse_sees_one_and_who_asks_for_something_else_does_not():
    def reds(prompt):
        return sum(count for count, color in painted(prompt).getcolors(150 * 120) if color == RED)

    assert reds("a lighthouse at dawn") > 50
    assert reds("something at dawn") == 0


@pytest.mark.parametrize("word", ["house", "castle", "tree", "boat", "cat", "clouds", "the sea", "night"])
def test_each_word_of_the_vocabulary_changes_what_is_seen(word):
    changed = ImageChops.difference(painted(f"a {word}"), painted("a zzz")).getbbox()
    assert changed is not None


def test_words_are_read_without_case_and_number_and_only_from_the_beginning():
    assert words_of("Trees, TREE; (boats:1.2)") == ["tree", "boat"]
    assert words_of("x " * 1_000 + "cat") == ["x"]
    assert (palette_for(["a", "night"]), palette_for(["a"])) == (2, None)
    assert (has_water(["lake"]), has_water(["hill"])) == (True, False)
