"""The words that a picture carries: how it was made, as servers write it into PNG, JPEG and WebP.

Only the file's metadata is read; no pixel is decoded. Of a PNG or JPEG only the first megabyte is looked at: what says
how it was made precedes the pixels, and a million tiny pieces of text took the library 2.5 s. WebP has it at the end,
and is read by a library in C. It still may take long enough for others to notice: call it in a thread.
"""

from __future__ import annotations

import re
import warnings
from io import BytesIO
from typing import Any

from PIL import ExifTags, Image

from gateway.domain.errors import InvalidRequest
from gateway.domain.replies.infotext import last_line_of

PARAMETERS = "parameters"
_FORMATS = ("PNG", "JPEG", "WEBP")
_TEXT_CODES = {b"UNICODE\0": "utf-16-be", b"ASCII\0\0\0": "ascii", b"JIS\0\0\0\0\0": "shift-jis", b"\0" * 8: "utf-8"}
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")
_MOST_ITEM_CHARACTERS = 100_000
_HEAD_BYTES = 1_000_000
_WEBP = b"WEBP"


def text_of(image: bytes) -> tuple[str, dict[str, str]]:
    """How the picture was made ("" if it does not say), and all its text by name. Raises InvalidRequest."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library warns of large pictures, whose pixels nobody decodes here
            head = image if image[8:12] == _WEBP else image[:_HEAD_BYTES]
            with Image.open(BytesIO(head), formats=_FORMATS) as opened:
                items = {
                    str(name): str(value)[:_MOST_ITEM_CHARACTERS]
                    for name, value in opened.info.items()
                    if isinstance(value, str)
                }
                comment = _comment(opened)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidRequest("image is not a PNG, JPEG or WebP picture.", "image") from error
    if comment:
        items.setdefault(PARAMETERS, comment)
    return items.get(PARAMETERS, ""), items


def _comment(opened: Image.Image) -> str:
    """The comment in a picture's EXIF data, where JPEG and WebP have what PNG has as text; "" for none."""
    if opened.format == "PNG":
        return ""  # the library would decode the pixels to get at it
    raw = opened.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if isinstance(raw, str):
        return raw[:_MOST_ITEM_CHARACTERS]
    if not isinstance(raw, bytes):
        return ""
    code = _TEXT_CODES.get(raw[:8])
    return raw[8 if code else 0 :].decode(code or "utf-8", "replace").strip("\0 ")[:_MOST_ITEM_CHARACTERS]


def parameters_in(infotext: str) -> dict[str, Any]:
    """The settings in an infotext, numbers as numbers, in the words that servers use for them (SD.Next, observed)."""
    if not infotext.strip():
        return {}
    found: dict[str, Any] = {name: _value(text) for name, text in last_line_of(infotext).items()}
    prompt, _, rest = infotext.partition("\nNegative prompt:")
    found["Prompt"] = prompt.partition("\nSteps:")[0].strip()
    found["Negative prompt"] = rest.partition("\n")[0].strip() or None
    size = _SIZE.fullmatch(str(found.get("Size", "")))
    if size:
        found["Size-1"], found["Size-2"] = int(size[1]), int(size[2])
    return found


def _value(text: str) -> Any:  # noqa: ANN401 - a number or a text
    if re.fullmatch(r"-?\d{1,18}", text):
        return int(text)
    if re.fullmatch(r"-?\d{1,18}\.\d{1,18}", text):
        return float(text)
    return text.strip('"')
