"""Whose fault an error answer is: the caller's, the operator's, or the attempt's. One table, first match wins."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.domain.errors import BodyTooLarge, GatewayError, InvalidRequest, SamplerNotFound
from gateway.domain.jobs import Operation
from gateway.domain.replies.verdicts import AttemptFailed, CallersFault, Flaw, SetAside, Verdict

_SAID_CHARACTERS, _READ_CHARACTERS = 300, 2_000
_MOST_COMMAS = 100_000
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b")
_PATH = re.compile(r"""(?:(?<=[\s'"(=\[:])|^)(?:[a-zA-Z]:\\|~?/)[^\s'",)\]]+""")
_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """A backend's error: its type name (`error`), its sentence, and the field a validation list names."""

    status: int
    kind: str = ""
    text: str = ""
    field: str = ""


def read_error(status: int, body: bytes) -> ErrorAnswer:
    """The error in any of SD.Next's shapes (observed): `{error, code, detail, body, errors}`, `{detail: [...]}`,
    `{detail: "..."}`, `{error}`, a bare JSON string, or no JSON at all. The text has no path, URL or address."""
    if body.count(b",") > _MOST_COMMAS:  # each value costs fifty times its bytes once it is read
        return ErrorAnswer(status)
    try:
        value = msgspec.json.decode(body)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return ErrorAnswer(status)
    if isinstance(value, str):
        return ErrorAnswer(status, text=without_places(value))
    if not isinstance(value, dict):
        return ErrorAnswer(status)
    detail = value.get("detail")
    if isinstance(detail, list):
        return _validation(status, detail)
    kind = value.get("error")
    text = next((t for t in (detail, value.get("errors"), kind) if isinstance(t, str) and t), "")
    return ErrorAnswer(status, kind if isinstance(kind, str) else "", without_places(text))


def without_places(text: str) -> str:
    """The text without URLs, addresses and paths, on one line, shortened."""
    text = text[:_READ_CHARACTERS]  # the patterns take quadratic time over "a.a.a.a..."
    clean = _PATH.sub("[path]", _ADDRESS.sub("[address]", _URL.sub("[url]", text)))
    return " ".join(clean.split())[:_SAID_CHARACTERS]


def _validation(status: int, detail: list[Any]) -> ErrorAnswer:
    for item in detail:
        if not isinstance(item, dict):
            continue
        place, message = item.get("loc"), item.get("msg")
        parts = [str(p) for p in place if p != "body"] if isinstance(place, list) else []
        return ErrorAnswer(status, "validation", without_places(str(message or "")), ".".join(parts))
    return ErrorAnswer(status, "validation")


def _invalid(answer: ErrorAnswer) -> GatewayError:
    field = f"{answer.field}: " if answer.field else ""
    return InvalidRequest(f"The server refused the request: {field}{answer.text or 'no reason given'}.", answer.field)


def _bad_image(_: ErrorAnswer) -> GatewayError:
    return InvalidRequest(
        "An image in the request could not be decoded. Send complete PNG, JPEG or WebP data.", "init_images"
    )


def _too_large(answer: ErrorAnswer) -> GatewayError:
    return BodyTooLarge(f"The server says the request is too large: {answer.text or 'no reason given'}.")


def _no_sampler(_: ErrorAnswer) -> GatewayError:
    return SamplerNotFound()


@dataclass(frozen=True, slots=True)
class _Rule:
    """Matches a status and, unless empty, a part of the text (any case). The first that matches decides."""

    statuses: frozenset[int]
    text: str
    error: Callable[[ErrorAnswer], GatewayError]


_CALLERS = (
    _Rule(frozenset({400, 500}), "invalid encoded image", _bad_image),
    _Rule(frozenset({400}), "init image is none", _bad_image),
    _Rule(frozenset({404}), "sampler not found", _no_sampler),
    _Rule(frozenset({413}), "", _too_large),
    _Rule(frozenset({400, 422}), "", _invalid),
)

_OPERATORS = {
    401: "it asks for credentials that the gateway was not given, or refuses them",
    403: "it forbids the gateway to use it",
    404: "it has no such route: is it SD.Next with its API on?",
    405: "it does not allow the method: is it SD.Next?",
    429: "it limits the gateway's rate: set server_rate_limit to 0",
}

_DEFECTS = (("ValidationError", "html_info"),)
"""Answers that show an operation can never work there: stock SD.Next fails every upscale like this (observed)."""

_NO_MEMORY = ("out of memory", "unable to allocate", "memoryerror", "outofmemory", "cuda error")
_ERROR_STATUS, _SERVER_ERROR_STATUS = 300, 500


def judge_error(operation: Operation, status: int, body: bytes) -> Verdict:
    """The verdict on an answer whose status is not 200. `operation` only names what was tried."""
    answer = read_error(status, body)
    low = answer.text.lower()
    for rule in _CALLERS:
        if status in rule.statuses and rule.text in low:
            return CallersFault(rule.error(answer))
    if status in _OPERATORS:
        return SetAside(_OPERATORS[status])
    if _ERROR_STATUS <= status < _SERVER_ERROR_STATUS:
        return SetAside(f"it answered {operation} with the unexpected status {status}")
    flaw = Flaw.ERROR_STATUS
    if any(answer.kind == kind and text in low for kind, text in _DEFECTS):
        flaw = Flaw.DEFECT
    elif any(word in f"{answer.kind} {low}".lower() for word in _NO_MEMORY):
        flaw = Flaw.OUT_OF_MEMORY
    said = ": ".join(part for part in (answer.kind, answer.text) if part) or f"status {status}"
    return AttemptFailed(flaw, said, signature=f"{status} {_NUMBERS.sub('#', said)}")
