"""Images to base64 and back, as the API carries them: bare base64, infotext in EXIF or in a PNG text chunk."""

from __future__ import annotations

import base64
import binascii
import io
import struct
import warnings

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gateway.simulator.sdnext.failures import Crashed, Refused, invalid_image


def encode_image(image: Image.Image, image_format: object, quality: object, text: str, key: str = "parameters") -> str:
    """Bare base64 in the global option's format: PNG or WebP by name, JPEG for anything else.

    `text` goes into a PNG's text chunk `key` or into EXIF's UserComment. A `quality` of a wrong type counts as 90.
    """
    buffer = io.BytesIO()
    if image_format == "png":
        info = PngInfo()
        info.add_text(key, text)
        image.save(buffer, "PNG", pnginfo=info, compress_level=1)
    else:
        number = quality if isinstance(quality, int) else 90
        save_as = "WEBP" if image_format == "webp" else "JPEG"
        image.save(buffer, save_as, quality=number, exif=_exif(text))
    return base64.b64encode(buffer.getvalue()).decode()


def image_bytes(text: object) -> bytes:
    """The bytes of a base64 string or data URI. Raises what the API answers otherwise."""
    if not isinstance(text, str):
        raise Crashed("AttributeError", f"'{type(text).__name__}' object has no attribute 'startswith'")
    payload = text.split(";base64,", 1)[1] if text.startswith("data:image/") and ";base64," in text else text
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_image() from error


def megapixels_of(data: bytes) -> float:
    """Millions of pixels by the header alone; nothing is decoded. Raises `Refused` if it is no image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            width, height = Image.open(io.BytesIO(data)).size
    except Image.DecompressionBombError:
        return float("inf")
    except (OSError, ValueError, SyntaxError) as error:
        raise invalid_image() from error
    return width * height / 1e6


def decode_image(data: bytes) -> Image.Image:
    """The decoded image. Raises `Refused` if it is broken."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            image.load()
    except (OSError, ValueError, SyntaxError) as error:
        raise invalid_image() from error
    return image


def read_infotext(data: bytes) -> dict[str, str]:
    """The text chunks of a PNG, or the infotext in EXIF under `UserComment`; empty if there is none."""
    image = decode_image(data)
    found = {str(name): value for name, value in image.info.items() if isinstance(value, str)}
    comment = image.getexif().get_ifd(0x8769).get(0x9286)
    if isinstance(comment, bytes) and comment.startswith(b"UNICODE\0"):
        found["UserComment"] = comment[8:].decode("utf-16-be")
    return found


def refuse_upload_reference(images: list[object]) -> None:
    """An `upload:` reference means a file uploaded before; here none ever was. Raises `Refused` 400."""
    for image in images:
        if isinstance(image, str) and image.startswith("upload:"):
            raise Refused(400, f"Upload reference not found: {image}")


def _exif(text: str) -> bytes:
    """EXIF with a UserComment, big-endian, byte for byte as SD.Next writes it."""
    comment = b"UNICODE\0" + text.encode("utf-16-be")
    head = b"Exif\0\0MM\0*" + struct.pack(">I", 8)
    pointer = struct.pack(">HHHIII", 1, 0x8769, 4, 1, 26, 0)
    entry = struct.pack(">HHHII", 1, 0x9286, 7, len(comment), 40)
    return head + pointer + entry + comment
