"""What a request costs: images, megapixel-steps and bytes. Known before anything is sent, from the filled values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MEGA = 1_000_000
_BYTES_PER_PIXEL = 4
_CAPTION_BYTES = 100_000  # with the scores of all tags
_DETAILER_STEPS, _DETAILER_SIDE = 10, 1024  # SD.Next's defaults


@dataclass(frozen=True, slots=True)
class Price:
    """The cost of a job. `megapixel_steps` is 0 for an upscale, `output_megapixels` the sum over all pictures.

    `answer_bytes` estimates the answer (images x pixels x 4), `input_bytes` is the base64 sent along.
    """

    images: int
    megapixel_steps: float
    output_megapixels: float
    answer_bytes: int
    input_bytes: int


def price_of_generation(
    fields: Mapping[str, Any], first: tuple[int, int], last: tuple[int, int], *, factor: float, input_bytes: int
) -> Price:
    """The price of filled fields; `first` and `last` are the picture's size in the first pass and in the end.

    `factor` multiplies the work of scripts. A second pass costs its own steps at the last size, the detailer one
    region of its resolution for each picture.
    """
    images = fields["batch_size"] * fields["n_iter"]
    work = fields["steps"] * first[0] * first[1] / _MEGA
    if fields.get("enable_hr") and fields.get("hr_force"):
        work += (fields.get("hr_second_pass_steps") or fields["steps"]) * last[0] * last[1] / _MEGA
    if fields.get("detailer_enabled"):
        side = fields.get("detailer_resolution", _DETAILER_SIDE)
        work += fields.get("detailer_steps", _DETAILER_STEPS) * side * side / _MEGA
    pixels = last[0] * last[1]
    return Price(
        images=images,
        megapixel_steps=images * work * factor,
        output_megapixels=images * pixels / _MEGA,
        answer_bytes=images * pixels * _BYTES_PER_PIXEL,
        input_bytes=input_bytes,
    )


def price_of_upscale(size: tuple[int, int], input_bytes: int) -> Price:
    """The price of one upscale to `size` (width, height)."""
    pixels = size[0] * size[1]
    return Price(1, 0.0, pixels / _MEGA, pixels * _BYTES_PER_PIXEL, input_bytes)


def price_of_caption(size: tuple[int, int], input_bytes: int) -> Price:
    """The price of describing a picture of this size: no picture comes back, and words take next to no room."""
    return Price(0, 0.0, size[0] * size[1] / _MEGA, _CAPTION_BYTES, input_bytes)
