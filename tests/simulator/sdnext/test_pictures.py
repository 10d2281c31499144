from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageStat

from gateway.simulator.sdnext.pictures import Painter, Subject, black_frame, preview

SUBJECT = Subject("a lighthouse at dusk", "tiny-a", 7, 192, 160)


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=60), st.integers(), st.integers(1, 60), st.integers(1, 60))
def test_any_prompt_and_size_can_be_painted(prompt: str, seed: int, width: int, height: int) -> None:
    picture = Painter().paint(Subject(prompt, "m", seed, width * 8, height * 8))

    assert (picture.mode, picture.size) == ("RGB", (width * 8, height * 8))


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a cat"},
        {"model": "b"},
        {"seed": 8},
        {"loras": (("inky", 0.5),)},
        {"damage": ("x",)},
        {"variation": "v"},
    ],
)
def test_everything_in_a_subject_changes_the_pixels(change: dict[str, object]) -> None:
    other = dataclasses.replace(SUBJECT, **change)  # type: ignore[arg-type]

    assert Painter().paint(SUBJECT).tobytes() != Painter().paint(other).tobytes()


def test_one_painter_paints_the_same_subject_the_same_again() -> None:
    painter = Painter()

    assert painter.paint(SUBJECT).tobytes() == painter.paint(SUBJECT).tobytes() == Painter().paint(SUBJECT).tobytes()


def test_prompt_and_model_are_written_at_the_foot() -> None:
    foot = Painter().paint(SUBJECT).crop((0, 120, 192, 160))

    assert ImageStat.Stat(foot.convert("L")).extrema[0][1] > 200


@pytest.mark.parametrize(("images", "size"), [(1, (512, 512)), (2, (1024, 512)), (4, (1024, 1024)), (5, (1536, 1024))])
def test_an_interrupted_batch_is_one_black_grid(images: int, size: tuple[int, int]) -> None:
    assert black_frame(images).size == size


def test_a_preview_is_small() -> None:
    assert preview(Subject("x", "m", 1, 2048, 1024), Painter(), 0.5).size == (256, 128)


def test_repainting_with_a_black_mask_keeps_the_input_above_the_writing() -> None:
    init = Image.new("RGB", (192, 160), (10, 200, 30))
    made = Painter().repaint(SUBJECT, init, 1.0, Image.new("L", (192, 160)))

    assert made.getpixel((5, 5)) == (10, 200, 30)
