from __future__ import annotations

import base64
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway.simulator.sdnext.encoding import decode_image, encode_image, image_bytes, megapixels_of, read_infotext
from gateway.simulator.sdnext.failures import Crashed, Refused, SimulatedFailure

RED = Image.new("RGB", (16, 8), (255, 0, 0))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_an_infotext_is_read_back_from_png_and_from_jpeg(text: str) -> None:
    png, jpeg = (image_bytes(encode_image(RED, image_format, 90, text)) for image_format in ("png", "jpg"))

    assert read_infotext(png)["parameters"] == text
    assert read_infotext(jpeg)["UserComment"] == text


@given(st.text())
def test_what_is_no_image_is_always_refused_in_the_same_words(text: str) -> None:
    with pytest.raises(SimulatedFailure) as caught:
        decode_image(image_bytes(text))

    assert caught.value.body["detail"] == "Invalid encoded image"


def test_a_data_uri_is_taken_as_well_as_bare_base64() -> None:
    bare = encode_image(RED, "png", 90, "")

    assert image_bytes(f"data:image/png;base64,{bare}") == image_bytes(bare) == base64.b64decode(bare)


def test_a_number_in_place_of_an_image_is_a_crash() -> None:
    with pytest.raises(Crashed, match="'int' object has no attribute 'startswith'"):
        image_bytes(123)


def test_the_size_is_told_from_the_header_without_decoding() -> None:
    whole = image_bytes(encode_image(Image.new("RGB", (2000, 1000)), "png", 90, ""))

    assert megapixels_of(whole[:200]) == 2.0
    with pytest.raises(Refused):
        decode_image(whole[:200])


@pytest.mark.parametrize(
    ("named", "made"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP"), ("nonsense", "JPEG"), (5, "JPEG")]
)
def test_the_format_is_the_options_and_jpeg_for_anything_unknown(named: object, made: str) -> None:
    assert Image.open(io.BytesIO(image_bytes(encode_image(RED, named, "high", "")))).format == made
