"""The words that a picture carries."""

from __future__ import annotations

from io import BytesIO
from zlib import crc32

import pytest
from PIL import ExifTags, Image, PngImagePlugin

from gateway.domain.errors import InvalidRequest
from gateway.domain.picture_text import parameters_in, text_of

INFOTEXT = (
    "a cat, sitting\nNegative prompt: dogs\nSteps: 4, Size: 64x96, Seed: 42, CFG scale: 6.5, "
    'Model: tiny-a, Note: "a, b"'
)


def picture(kind, size=(8, 8), **options):
    buffer = BytesIO()
    Image.new("RGB", size).save(buffer, kind, **options)
    return buffer.getvalue()


def with_comment(kind, comment):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return picture(kind, exif=exif.tobytes())


def test_a_png_says_how_it_was_made_in_latin_or_any_other_letters():
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", INFOTEXT)
    text.add_itxt("Comment", "größe 猫")
    info, items = text_of(picture("PNG", pnginfo=text))
    assert (info, items["Comment"]) == (INFOTEXT, "größe 猫")


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize(
    "comment", [b"UNICODE\0" + "猫".encode("utf-16-be"), b"ASCII\0\0\0" + b"cat", b"\0" * 8 + "猫".encode()]
)
def test_a_jpeg_or_webp_says_it_in_its_comment(kind, comment):
    info, items = text_of(with_comment(kind, comment))
    assert info in ("猫", "cat")
    assert items["parameters"] == info


def test_a_picture_without_words_says_nothing():
    assert text_of(picture("PNG")) == ("", {})


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_words_are_found_in_a_large_picture_and_looked_for_in_its_first_megabyte_only(kind):
    words = PngImagePlugin.PngInfo()
    words.add_text("parameters", INFOTEXT)
    large = {"PNG": {"pnginfo": words}, "JPEG": {"comment": b"first"}}[kind]
    buffer = BytesIO()
    Image.effect_noise((1500, 1500), 90).convert("RGB").save(buffer, kind, quality=100, **large)
    picture = buffer.getvalue()
    assert len(picture) > 1_500_000
    found = text_of(picture)
    assert found == text_of(picture[:1_000_000])
    assert (found[0] == INFOTEXT) is (kind == "PNG")


def test_a_million_pieces_of_text_are_not_read():
    chunk = b"\0\0\0\4tEXta\0bc" + crc32(b"tEXta\0bc").to_bytes(4, "big")
    head = picture("PNG")[:33]
    with pytest.raises(InvalidRequest):  # what was looked at ends in the middle of them
        text_of(head + chunk * 1_000_000 + picture("PNG")[33:])
    assert text_of(head + chunk * 1_000 + picture("PNG")[33:])[1] == {"a": "bc"}


def test_the_pixels_of_a_picture_are_never_decoded():
    whole = picture("PNG", (3000, 3000))
    assert text_of(whole[: len(whole) // 2]) == ("", {})


@pytest.mark.parametrize("raw", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"%PDF-1.4" * 9])
def test_what_is_no_picture_is_refused(raw):
    with pytest.raises(InvalidRequest, match="PNG, JPEG or WebP"):
        text_of(raw)


def test_settings_are_read_in_a_servers_own_words():
    assert parameters_in(INFOTEXT) == {
        "Steps": 4, "Size": "64x96", "Seed": 42, "CFG scale": 6.5, "Model": "tiny-a", "Note": "a, b",
        "Prompt": "a cat, sitting", "Negative prompt": "dogs", "Size-1": 64, "Size-2": 96,
    }  # fmt: skip
    assert parameters_in("  ") == {}
    assert parameters_in("just words") == {"Prompt": "just words", "Negative prompt": None}
