import base64
import io
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway.domain.errors import BodyTooLarge, InvalidRequest
from gateway.domain.images import checked_image, header_of, image_bytes, may_be_image
from tests.domain.pool import b64, png, png_chunk, png_head, raw

PLENTY = 34_000_000
# The 26 numbers behind the first of a SPIDER header: rows, type, columns, bytes of the header.
SPIDER = {2: 9000, 5: 1, 12: 9000, 13: 9, 22: 36000, 23: 4000}
SPIDER = [float(SPIDER.get(number, 0)) for number in range(2, 28)]


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
    "prefix", ["data:image/png;base64,", "data:image/jpeg;name=a.png;base64,", "data:image/svg+xml;base64,"]
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
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBPVP8L", b"RIFF\x40\0\0\0WEBPVP8X", b""]),
)
def test_no_bytes_behind_a_signature_break_the_reader(data, signature):
    header = header_of(raw(b64(signature + data)))
    assert header is None or header.pixels > 0


# --- what is checked is what is decoded ---------------------------------------------------------


def test_a_png_with_a_second_header_was_priced_512_and_worked_9000():
    head = struct.pack(">IIBBBBB", 900, 900, 8, 0, 0, 0, 0)
    whole = png(512, 512)
    forged = whole[:33] + png_chunk(b"IHDR", head) + png(900, 900)[33:]
    assert Image.open(io.BytesIO(forged)).size == (900, 900)
    with pytest.raises(InvalidRequest, match="second IHDR"):
        checked_image(raw(b64(forged)), "image", PLENTY)


def test_a_png_that_pillow_would_open_as_a_photo_cd_is_refused():
    comment = b"a" * (2048 - 33 - 8) + b"PCD_" + bytes(1600)
    bad = struct.pack(">I", len(comment)) + b"zTXt" + comment + b"----"
    forged = png(64, 64)[:33] + bad + png(64, 64)[33:]
    assert Image.open(io.BytesIO(forged)).size == (768, 512)
    with pytest.raises(InvalidRequest, match="another format"):
        checked_image(raw(b64(forged)), "image", PLENTY)


@pytest.mark.parametrize(
    ("first", "form"),
    [
        (b"\x11\xaf" + struct.pack("<HHHHH", 1, 9000, 9000, 8, 3) + bytes(4496), "FLI"),
        (struct.pack("<26f", *SPIDER), "SPIDER"),
    ],
)
def test_a_jpeg_that_pillow_would_open_as_another_format_is_refused(first, form):
    data = base64.b64decode(encoded(64, 64, "JPEG"))
    size = int.from_bytes(first[:2], "big")
    first = (first + bytes(size))[:size]
    too_short = b"\xff\xe0\0\x06JFIF"  # Pillow gives up on it, libjpeg does not
    forged = data[:2] + b"\xff\xe1" + first + too_short + data[2:]
    assert Image.open(io.BytesIO(forged)).format == form
    with pytest.raises(InvalidRequest, match="another format"):
        checked_image(raw(b64(forged)), "image", PLENTY)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_another_picture_behind_the_first_is_refused(form):
    first, second = (base64.b64decode(encoded(side, side, form)) for side in (64, 96))
    for between in (b"", bytes(3), bytes(400)):
        with pytest.raises(InvalidRequest, match="another picture stands behind it"):
            checked_image(raw(base64.b64encode(first + between + second).decode()), "image", PLENTY)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("tail", [b"SEFT" * 10, b"\0\0\0\x18ftypmp42" + bytes(100), b"x"])
def test_what_stands_behind_the_end_is_cut_off_and_told(form, tail):
    whole = base64.b64decode(encoded(64, 48, form))
    clean, header = checked_image(raw(base64.b64encode(whole + tail).decode()), "image", PLENTY)
    assert base64.b64decode(msgspec.json.decode(clean), validate=True) == whole
    assert header.notes == ("what stood behind its end is left out",)


def test_the_second_picture_of_a_phone_is_cut_off_since_the_file_announces_it():
    out = io.BytesIO()
    one = Image.new("RGB", (64, 48))
    one.save(out, "MPO", save_all=True, append_images=[Image.new("RGB", (640, 480))])
    clean, header = checked_image(raw(base64.b64encode(out.getvalue()).decode()), "image", PLENTY)
    sent = base64.b64decode(msgspec.json.decode(clean))
    assert ((header.width, header.height), Image.open(io.BytesIO(sent)).size) == ((64, 48), (64, 48))
    assert sent.count(b"\xff\xd8\xff") == 1
    assert header.notes == ("what stood behind its end is left out",)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_counts_and_that_is_told(form):
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue", "green")]
    text = encoded(64, 48, form, save_all=True, append_images=frames)
    _, header = checked_image(raw(text), "image", PLENTY)
    assert ((header.width, header.height), header.notes) == ((64, 48), ("animated: only its first frame counts",))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_an_orientation_is_told_since_no_server_turns_the_picture(form):
    exif = Image.Exif()
    exif[0x0112] = 6
    _, header = checked_image(raw(encoded(64, 48, form, exif=exif)), "image", PLENTY)
    assert header.notes == ("its EXIF orientation is not applied",)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_picture_that_breaks_off_is_refused_wherever_it_does(form):
    whole = base64.b64decode(encoded(24, 16, form))
    for end in range(len(whole)):
        with pytest.raises(InvalidRequest):
            checked_image(raw(base64.b64encode(whole[:end]).decode()), "image", PLENTY)


@pytest.mark.parametrize(
    "text", ["iVBORw0KGgo", " iV!BOR\nw0KGgoAAA", "/9j/4AAQSkZJRg", "R0lGODlhAQ", "!" * 90 + "UklGRiQA", "Data:x"]
)
def test_a_text_that_a_backend_could_decode_to_a_picture_is_known(text):
    assert may_be_image(text)


@pytest.mark.parametrize("text", ["", "a cat", "Hello, world! " * 20, "0.5", "iVBOR", "background", "BM"])
def test_plain_words_are_no_picture(text):
    assert not may_be_image(text)


def test_a_jpeg_whose_segments_run_in_circles_ends():
    assert header_of(raw(b64(b"\xff\xd8" + b"\xff\xe0\x00\x00" * 5_000))) is None


def test_the_bytes_of_a_picture_come_back_whole():
    assert image_bytes(raw(b64(b"abc"))) == b"abc"
    assert image_bytes(raw("?")) == b""
