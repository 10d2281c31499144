import base64
import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway.domain.errors import BodyTooLarge, InvalidRequest
from gateway.domain.images import checked_image, header_of, image_bytes
from tests.domain.pool import b64, png_head, raw

PLENTY = 34_000_000


def encoded(width, height, form, **options):
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, form, **options)
    return base64.b64encode(out.getvalue()).decode()


@pytest.mark.parametrize("size", [(1, 1), (97, 131), (640, 480), (5000, 16)])
@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"exif": b"Exif\0\0" + bytes(60_000)}),
        ("JPEG", {"icc_profile": bytes(200_000)}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0II*\0"}),
    ],
)
def test_the_size_in_the_header_is_the_pictures_size(form, options, size):
    text = encoded(*size, form, **options)
    _, header = checked_image(raw(text), "image", PLENTY)
    assert (header.kind, header.width, header.height) == (form.lower(), *size)
    assert header.encoded_bytes == len(text)


@pytest.mark.parametrize(
    "prefix", ["data:image/png;base64,", "data:image/jpeg;name=a.png;base64,", "data:image/x-icon;base64,"]
)
def test_a_data_url_is_read_and_sent_on_as_it_came(prefix):
    sent = raw(prefix + b64(png_head(10, 20)))
    clean, header = checked_image(sent, "image", PLENTY)
    assert clean is sent
    assert (header.width, header.height) == (10, 20)


def test_escaped_slashes_and_line_breaks_are_taken_out():
    text = encoded(300, 200, "PNG")
    wrapped = "\\n".join(text[i : i + 76] for i in range(0, len(text), 76)).replace("/", "\\/")
    clean, header = checked_image(msgspec.Raw(f'"{wrapped}"'.encode()), "image", PLENTY)
    assert msgspec.json.decode(clean) == text
    assert (header.width, header.height) == (300, 200)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "https://example.com/a.png",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "/etc/passwd",
        "upload:abcd",
        "C:\\pictures\\a.png",
        "not base64!",
        "data:text/html;base64,PGh0bWw+",
        "data:image/png,notbase64",
        b64(b"GIF89a" + bytes(60)),
        b64(b"\x89PNG\r\n\x1a\n" + bytes(60)),
        b64(png_head(0, 10)),
        b64(b"\xff\xd8\xff\xe0" + bytes(2)),
        b64(b"RIFF\0\0\0\0WEBPVP8?" + bytes(60)),
        encoded(10, 10, "PNG")[:-1],
        encoded(10, 10, "PNG").replace("A", "-"),
        encoded(10, 10, "BMP"),
    ],
)
def test_anything_but_a_picture_is_refused_and_the_field_named(value):
    with pytest.raises(InvalidRequest) as caught:
        checked_image(raw(value), "init_images[1]", PLENTY)
    assert caught.value.field == "init_images[1]"
    assert str(caught.value).startswith("init_images[1] must be")


@pytest.mark.parametrize("value", [b"17", b"{}", b"[]", b"true", b"1.5e3"])
def test_json_that_is_no_string_is_refused(value):
    with pytest.raises(InvalidRequest):
        checked_image(msgspec.Raw(value), "mask", PLENTY)


def test_a_decompression_bomb_is_told_by_its_header():
    with pytest.raises(BodyTooLarge, match="20000x20000"):
        checked_image(raw(b64(png_head(20_000, 20_000))), "image", PLENTY)


@given(
    st.binary(max_size=300),
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFFabcdWEBPVP8L", b"RIFFabcdWEBPVP8 ", b""]),
)
def test_no_bytes_behind_a_signature_break_the_reader(data, signature):
    header = header_of(raw(b64(signature + data)))
    assert header is None or header.pixels > 0


def test_a_jpeg_whose_segments_run_in_circles_ends():
    assert header_of(raw(b64(b"\xff\xd8" + b"\xff\xe0\x00\x00" * 5_000))) is None


def test_the_bytes_of_a_picture_come_back_whole():
    assert image_bytes(raw(b64(b"abc"))) == b"abc"
    assert image_bytes(raw("?")) == b""
