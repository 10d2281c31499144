"""Base64 in JSON strings: one canonical form, and the bytes behind it without decoding the whole.

A backend decodes with a reader that skips every character it does not know (CPython's `b64decode`). One such character
in the middle shifts all that follows, and the backend would see another file than the one that was checked. So either
every character is of the standard alphabet and the text goes on as it came, or it is rewritten.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator

import msgspec

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_WHITE_SPACE = b" \t\r\n\f\v"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
# The data URLs of which SD.Next, and every other reader, cuts off the same: no comma or quote before the data.
_PLAIN_URL = re.compile(rb"data:image/[A-Za-z0-9.+-]{1,40}(?:;[A-Za-z0-9=.+-]{1,40}){0,3};base64,")
_URL_START, _URL_END = "data:", ";base64,"
_URL_CHARACTERS = 1_000
# What URLs quote of base64: one character in 30 of a picture, seldom more. A general reader of quotes takes 4 s for
# 32 MB of them.
_QUOTED = ((b"%2B", b"+"), (b"%2b", b"+"), (b"%2F", b"/"), (b"%2f", b"/"), (b"%3D", b"="), (b"%3d", b"="))
_FEW_QUOTES, _MOST_QUOTED = 1_000, 8
_GROUP, _BYTES = 4, 3
_FIRST_WINDOW = 1_024 * _BYTES
_WINDOW = 16_384 * _GROUP
_MOST_PADDING = 2
_STRANGE = "it holds characters that are not of base64"


class NotBase64(Exception):
    """The value is no base64 text; `str()` continues the sentence "... must be an image: "."""


class EncodedBytes:
    """Random access to the bytes of a canonical base64 text; what is read is decoded, nothing is kept."""

    def __init__(self, text: memoryview) -> None:
        self._text = text
        self.text_characters = len(text)
        self.size = len(text) // _GROUP * _BYTES - bytes(text[-_MOST_PADDING:]).count(b"=")

    def read(self, offset: int, size: int) -> bytes:
        """The bytes from `offset` on, fewer than `size` only at the end."""
        first = offset // _BYTES
        last = -(-(offset + size) // _BYTES)
        skip = offset - first * _BYTES
        return a2b_base64(self._text[first * _GROUP : last * _GROUP])[skip : skip + size]

    def windows(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """All bytes from `offset` on, piece by piece, each with its own offset.

        The first pieces are small: who looks for what is near must not pay for what is far.
        """
        step = _FIRST_WINDOW
        while offset < self.size:
            yield offset, self.read(offset, step)
            offset += step
            step = min(2 * step, _WINDOW // _GROUP * _BYTES)

    def cut(self, size: int) -> bytes:
        """The canonical text of the first `size` bytes alone."""
        whole = size // _BYTES
        rest = self.read(whole * _BYTES, size - whole * _BYTES)
        return bytes(self._text[: whole * _GROUP]) + b2a_base64(rest, newline=False)


def canonical(raw: msgspec.Raw) -> tuple[msgspec.Raw, EncodedBytes]:
    """The JSON string with standard base64, padded, in one line; the same object if it was that already.

    Understood are line breaks and blanks, JSON escapes, missing padding, the URL-safe alphabet and data URLs with
    any parameters; what is rewritten comes back bare. Raises NotBase64.
    """
    view = memoryview(raw)
    if len(view) < len('""') or view[0] != ord('"'):
        raise NotBase64("it is no string")
    payload = view[1:-1]
    if (match := _PLAIN_URL.match(bytes(payload[:_URL_CHARACTERS]))) is not None:
        payload = payload[match.end() :]
    if _is_canonical(payload):
        return raw, EncodedBytes(payload)
    return as_json(_rewritten(raw))


def as_json(text: bytes) -> tuple[msgspec.Raw, EncodedBytes]:
    """A canonical base64 text as the JSON string that holds it."""
    quoted = b'"%b"' % text
    return msgspec.Raw(quoted), EncodedBytes(memoryview(quoted)[1:-1])


def decoded(raw: msgspec.Raw) -> bytes:
    """The bytes of the JSON string in any of the forms of `canonical`. Raises NotBase64."""
    encoded = canonical(raw)[1]
    return encoded.read(0, encoded.size)


def _is_canonical(payload: memoryview) -> bool:
    if not payload or len(payload) % _GROUP:
        return False
    body = len(payload) - bytes(payload[-_MOST_PADDING:]).count(b"=")
    # `translate` looks at 1.5 GB a second, decoding at 0.4.
    if any(bytes(payload[at : min(at + _WINDOW, body)]).translate(None, _ALPHABET) for at in range(0, body, _WINDOW)):
        return False
    last = bytes(payload[-_GROUP:])
    return b2a_base64(a2b_base64(last), newline=False) == last  # bits behind the last byte are 0


def _rewritten(raw: msgspec.Raw) -> bytes:
    data = _unwrapped(raw).translate(_URL_SAFE, _WHITE_SPACE).rstrip(b"=")
    if not data:
        raise NotBase64("it is empty")
    if data.translate(None, _ALPHABET):
        raise NotBase64(_STRANGE)
    whole = len(data) // _GROUP * _GROUP
    if whole == len(data):
        return data
    try:
        return data[:whole] + b2a_base64(a2b_base64(data[whole:] + b"=="), newline=False)
    except Base64Error:
        raise NotBase64("its last character is missing") from None


def _unwrapped(raw: msgspec.Raw) -> bytes:
    """The text without JSON's escapes and without what a data URL has around its data."""
    try:
        text = msgspec.json.decode(raw, type=str).strip()
    except (ValueError, msgspec.MsgspecError):
        raise NotBase64("its text cannot be read") from None
    is_url = text[: len(_URL_START)].lower() == _URL_START
    if is_url:
        end = text[:_URL_CHARACTERS].lower().find(_URL_END)
        if end < 0:
            raise NotBase64('a data URL must have ";base64," before its data')
        text = text[end + len(_URL_END) :]
    if not text.isascii():
        raise NotBase64(_STRANGE)
    data = text.encode()
    return _unquoted(data) if is_url and b"%" in data else data


def _unquoted(data: bytes) -> bytes:
    if data.count(b"%") > max(_FEW_QUOTES, len(data) // _MOST_QUOTED):
        raise NotBase64("too much of it is quoted with %")
    for quoted, plain in _QUOTED:
        data = data.replace(quoted, plain)
    return data
