"""The most that an answer can honestly be, from what was asked. Whatever is larger is not read."""

from __future__ import annotations

from gateway.domain.parameters.context import Shaped
from gateway.domain.parameters.generation_rows import PROMPTS

# PNG of 8-bit RGBA that does not pack is 4 bytes a pixel, and base64 makes 4 characters of 3.
_BYTES_PER_PIXEL = 4 * 4 / 3
_ROUNDED_UP = 16  # pixels: backends round sides up to their own grid
_BESIDE = 1_000_000  # info, html_info, tags and scores, and the head of each file
_ESCAPED_BYTES = 14  # of one character of a prompt: a surrogate pair as JSON inside of JSON
_COMMAS_BESIDE = 100_000
MOST_FURTHER_IMAGES = 16  # grids, masks, annotations
_BRINGS_FURTHER = ("include_mask", "script_name", "alwayson_scripts", "control_units")


def most_answer_bytes(shaped: Shaped, sent_bytes: int) -> int:
    """Bytes that the answer to this job can have, when its request had `sent_bytes`.

    One picture more than was asked, because an interrupted batch ends with a grid; those that masks, scripts and
    control units bring along; each prompt as often as `info` tells it; and the request itself, which `parameters` and
    errors may echo.
    """
    width, height = shaped.expected or (0, 0)
    pixels = (width + _ROUNDED_UP) * (height + _ROUNDED_UP)
    pictures = shaped.images_asked + (shaped.images_asked > 1)
    if any(shaped.fields.get(name) for name in _BRINGS_FURTHER):
        pictures += MOST_FURTHER_IMAGES
    text = sum(len(one) for one in _prompts(shaped)) * _ESCAPED_BYTES * _times_told(shaped)
    return round(pictures * pixels * _BYTES_PER_PIXEL) + text + 2 * sent_bytes + _BESIDE


def most_commas(shaped: Shaped) -> int:
    """Commas that such an answer can have: each value costs fifty times its bytes once it is read."""
    return sum(one.count(",") for one in _prompts(shaped)) * _times_told(shaped) + _COMMAS_BESIDE


def _times_told(shaped: Shaped) -> int:
    """How often an answer tells a prompt: itself, `parameters`, and for each picture in two lists and its file."""
    return 2 + 4 * max(1, shaped.images_asked)


def _prompts(shaped: Shaped) -> list[str]:
    values = (shaped.fields.get(name) for name in PROMPTS)
    return [value for value in values if isinstance(value, str)]
