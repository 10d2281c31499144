"""A few things that a prompt may name, as simple shapes, so that a demo's picture shows something of what was asked.

A handful is enough: whatever else is asked for stands in the picture as its words. Sizes are shares of the picture's
height; `x` and `y` are where a thing stands, in pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import MappingProxyType
from typing import TypeAlias

from PIL import ImageDraw

Color: TypeAlias = tuple[int, int, int]
Thing: TypeAlias = Callable[[ImageDraw.ImageDraw, float, float, float], None]

_READ = 500  # characters of a prompt that are looked at
_AT_MOST = 4
_WHITE, _RED, _LIGHT, _DARK = (244, 240, 232), (196, 60, 52), (255, 232, 150), (34, 30, 40)
_WOOD, _GREEN, _GREY = (110, 74, 52), (52, 104, 66), (150, 150, 156)


def words_of(prompt: str) -> list[str]:
    """The words of a prompt's beginning, in lower case, each once, in order, in the singular where it ends with s."""
    return list(dict.fromkeys(word.removesuffix("s") for word in re.findall(r"[a-z]+", prompt[:_READ].lower())))


def has_water(words: list[str]) -> bool:
    """Whether water lies where hills would."""
    return not _WATER.isdisjoint(words)


def palette_for(words: list[str]) -> int | None:
    """The number of the palette that a word asks for, None where no word does."""
    return next((_LIGHTS[word] for word in words if word in _LIGHTS), None)


def draw_things(draw: ImageDraw.ImageDraw, size: tuple[int, int], words: list[str], dice: bytes) -> None:
    """Draw what the words name, from left to right in their order, each where the dice say."""
    width, height = size
    named = [_THINGS[word] for word in words if word in _THINGS][:_AT_MOST]
    for number, thing in enumerate(named):
        share = (number + 0.3 + 0.4 * dice[number] / 255) / len(named)
        thing(draw, width * share, height * 0.84, height * 0.44)


def _lighthouse(draw: ImageDraw.ImageDraw, x: float, y: float, h: float) -> None:
    w = h * 0.13
    lamp = y - h * 0.86
    for side in (-1, 1):  # the beam
        draw.polygon(
            [(x, lamp), (x + side * h * 1.5, lamp - h * 0.16), (x + side * h * 1.5, lamp + h * 0.1)], fill=_LIGHT
        )
    draw.polygon([(x - w * 2.4, y), (x - w, y - h * 0.1), (x + w, y - h * 0.1), (x + w * 2.4, y)], fill=_DARK)
    for band in range(5):
        bottom, top = y - h * (0.08 + 0.14 * band), y - h * (0.22 + 0.14 * band)
        narrow = (w * (1 - 0.09 * band), w * (1 - 0.09 * (band + 1)))
        corners = [(x - narrow[0], bottom), (x - narrow[1], top), (x + narrow[1], top), (x + narrow[0], bottom)]
        draw.polygon(corners, fill=(_WHITE, _RED)[band % 2])
    draw.rectangle((x - w * 0.8, y - h * 0.8, x + w * 0.8, y - h * 0.77), fill=_DARK)
    draw.rectangle((x - w * 0.42, y - h * 0.92, x + w * 0.42, y - h * 0.8), fill=_LIGHT)
    draw.polygon([(x - w * 0.6, y - h * 0.92), (x, y - h), (x + w * 0.6, y - h * 0.92)], fill=_RED)


def _house(draw: ImageDraw.ImageDraw, x: float, y: float, h: float) -> None:
    w, wall = h * 0.26, h * 0.3
    draw.rectangle((x - w, y - wall, x + w, y), fill=_WHITE)
    draw.polygon([(x - w * 1.2, y - wall), (x, y - wall * 1.8), (x + w * 1.2, y - wall)], fill=_RED)
    draw.rectangle((x - w * 0.18, y - wall * 0.6, x + w * 0.18, y), fill=_WOOD)
    for side in (-0.6, 0.6):
        draw.rectangle((x + w * (side - 0.18), y - wall * 0.7, x + w * (side + 0.18), y - wall * 0.35), fill=_LIGHT)


def _castle(draw: ImageDraw.ImageDraw, x: float, y: float, h: float) -> None:
    w = h * 0.3
    draw.rectangle((x - w, y - h * 0.4, x + w, y), fill=_GREY)
    for side in (-1, 1):
        tower = x + side * w
        draw.rectangle((tower - w * 0.3, y - h * 0.62, tower + w * 0.3, y), fill=_GREY)
        draw.polygon(
            [(tower - w * 0.4, y - h * 0.62), (tower, y - h * 0.85), (tower + w * 0.4, y - h * 0.62)], fill=_RED
        )
    draw.rectangle((x - w * 0.22, y - h * 0.2, x + w * 0.22, y), fill=_DARK)


def _tree(draw: ImageDraw.ImageDraw, x: float, y: float, h: float) -> None:
    draw.rectangle((x - h * 0.04, y - h * 0.35, x + h * 0.04, y), fill=_WOOD)
    for dx, dy, r in ((-0.14, 0.42, 0.16), (0.14, 0.42, 0.16), (0.0, 0.58, 0.2)):
        draw.ellipse((x + h * (dx - r), y - h * (dy + r), x + h * (dx + r), y - h * (dy - r)), fill=_GREEN)


def _boat(draw: ImageDraw.ImageDraw, x: float, y: float, h: float) -> None:
    w = h * 0.3
    y -= h * 0.12
    draw.polygon([(x - w, y - h * 0.1), (x + w, y - h * 0.1), (x + w * 0.6, y), (x - w * 0.6, y)], fill=_WOOD)
    draw.polygon([(x, y - h * 0.12), (x, y - h * 0.6), (x + w * 0.8, y - h * 0.12)], fill=_WHITE)
    draw.polygon([(x - h * 0.02, y - h * 0.12), (x - h * 0.02, y - h * 0.5), (x - w * 0.6, y - h * 0.12)], fill=_RED)


def _cat(draw: ImageDraw.ImageDraw, x: float, y: float, h: float) -> None:
    w = h * 0.17
    draw.arc((x + w * 0.3, y - h * 0.42, x + w * 1.9, y), 20, 190, fill=_DARK, width=max(2, int(w * 0.22)))
    draw.ellipse((x - w, y - h * 0.4, x + w, y), fill=_DARK)
    head = y - h * 0.45
    draw.ellipse((x - w * 0.8, head - w * 0.75, x + w * 0.8, head + w * 0.75), fill=_DARK)
    for side in (-1, 1):
        ear = [
            (x + side * w * 0.78, head - w * 0.2),
            (x + side * w * 0.66, head - w * 1.2),
            (x + side * w * 0.15, head),
        ]
        draw.polygon(ear, fill=_DARK)
        eye = x + side * w * 0.33
        draw.ellipse((eye - w * 0.15, head - w * 0.2, eye + w * 0.15, head + w * 0.12), fill=_LIGHT)


def _cloud(draw: ImageDraw.ImageDraw, x: float, y: float, h: float) -> None:
    top = y - h * 1.55
    for dx, dy, r in ((-0.2, 0.02, 0.1), (-0.06, -0.04, 0.14), (0.1, -0.01, 0.12), (0.23, 0.03, 0.08)):
        draw.ellipse((x + h * (dx - r), top + h * (dy - r), x + h * (dx + r), top + h * (dy + r)), fill=_WHITE)


_WATER = frozenset(
    {"sea", "ocean", "lake", "water", "beach", "coast", "harbor", "harbour", "lighthouse", "boat", "ship"}
)
# Words for a light, and the number of the palette that has it.
_LIGHTS = MappingProxyType(
    {"dawn": 5, "sunrise": 5, "morning": 1, "noon": 1, "day": 1, "dusk": 0, "evening": 0, "sunset": 3, "night": 2,
     "moon": 2, "forest": 4, "desert": 3, "winter": 6, "snow": 6, "fog": 6, "fire": 7}
)  # fmt: skip
_THINGS: MappingProxyType[str, Thing] = MappingProxyType(
    {"lighthouse": _lighthouse, "house": _house, "cabin": _house, "cottage": _house, "castle": _castle, "tree": _tree,
     "boat": _boat, "ship": _boat, "cat": _cat, "kitten": _cat, "cloud": _cloud}
)  # fmt: skip
