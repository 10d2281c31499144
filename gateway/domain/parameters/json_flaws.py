"""Why a body is no JSON, in words that help whoever wrote the program that sent it. Asked once it was refused."""

from __future__ import annotations

_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
_MALFORMED = "JSON is malformed: "
_FIRST_PRINTABLE = 0x20
_SURROGATE = "half of a surrogate pair, which is no character"
_END = 16  # bytes: the reader looks so far behind the first half of a pair


def flaw_of(body: bytes, error: Exception) -> str:
    """What is wrong with this body, which its reader refused with `error`: the end of a sentence, with the place."""
    if not body.strip():
        return "it is empty"
    if body.startswith(_WIDE_MARKS) or b"\0" in body[:4]:
        return "it is UTF-16 or UTF-32; send UTF-8"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8; send UTF-8"
    said = str(error)
    if said.startswith(_MALFORMED):
        return _in_full(body, said.removeprefix(_MALFORMED))
    if b"\\ud" in body[-_END:].lower():
        return f"{_SURROGATE} (near its end)"
    return "it ends in the middle of a value"


def _in_full(body: bytes, said: str) -> str:
    """The reader's own words, but for two that say little."""
    what, _, place = said.partition(" (byte ")
    at = int(place.rstrip(")")) if place.rstrip(")").isdecimal() else len(body)
    if "surrogate" in what or ("hex escape" in what and b"\\ud" in body[max(0, at - _END) : at].lower()):
        return f"{_SURROGATE} (byte {at})"
    if at < len(body) and body[at] < _FIRST_PRINTABLE:
        return rf"a raw line break or other control character in a text, which must be written as \n (byte {at})"
    return said
