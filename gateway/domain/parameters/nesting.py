"""How deep JSON nests, found without parsing it: in a few passes in C over the bytes, whatever they hold.

Two JSON strings side by side may count as one here, as only the brackets outside of all strings matter.
"""

from __future__ import annotations

from gateway.domain.errors import InvalidRequest

_MOST_BRACKETS = 1_000_000  # quotes and brackets that are looked at one by one: 50 ms
_ALL_BUT_QUOTES_AND_BRACKETS = bytes(c for c in range(256) if c not in b'"[]{}')
_SQUARE = bytes.maketrans(b"{}", b"[]")


def nests_deeper(json: bytes, levels: int) -> bool:
    """Whether valid JSON nests deeper than so many levels. Raises InvalidRequest for more brackets than any request
    needs.

    Takes about 1 ns for each byte and no memory for the usual body of few brackets, 10 ns and a copy at the worst.
    """
    if not _opens_more_than(json, levels):
        return False
    brackets = _brackets_of(json)
    for _ in range(levels):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _opens_more_than(json: bytes, times: int) -> bool:
    """Whether there are so many opening brackets at all, in strings or not; `find` is ten times as fast as `count`."""
    for bracket in (b"[", b"{"):
        at = json.find(bracket)
        while at >= 0:
            times -= 1
            if times < 0:
                return True
            at = json.find(bracket, at + 1)
    return False


def _brackets_of(json: bytes) -> bytes:
    """The brackets outside of strings, all of them square."""
    if b"\\" in json:  # an escaped backslash first: the quote behind it is none that is escaped
        json = json.replace(b"\\\\", b"").replace(b'\\"', b"")
    kept = json.translate(None, _ALL_BUT_QUOTES_AND_BRACKETS).replace(b'""', b"")
    if len(kept) > _MOST_BRACKETS:
        raise InvalidRequest(
            f"The body holds more than {_MOST_BRACKETS} brackets. Leave out what this call does not know."
        )
    return b"".join(kept.split(b'"')[::2]).translate(_SQUARE)
