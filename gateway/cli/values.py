"""How values are written on the command line: times, durations, globs, limits and JSON. Pure but for reading files.

What cannot be read raises InvalidRequest with an example of what could.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gateway.domain.errors import InvalidRequest
from gateway.domain.keys import Grants, Names

_UNITS = MappingProxyType({"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0})


def seconds(text: str) -> float:
    """A duration: `90s`, `15m`, `24h`, `30d`, `2w`, or plain seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", text.strip())
    if not found:
        raise InvalidRequest(f'"{text}" is no duration; write 90s, 15m, 24h, 30d or 2w.')
    return float(found[1]) * _UNITS[found[2] or "s"]


def moment(text: str, now: float) -> float | None:
    """A time in seconds since the epoch: a duration from `now`, a date or time (UTC unless it says), or `never`."""
    if text == "never":
        return None
    if re.fullmatch(r"[\d.]+[smhdw]", text):
        return now + seconds(text)
    return date(text)


def date(text: str) -> float:
    """A date (`2027-01-31`) or time (`2027-01-31T12:00`, UTC unless it names a zone) in seconds since the epoch."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f'"{text}" is no date; write 2027-01-31 or 2027-01-31T12:00Z.') from error
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def grants_with(
    before: Grants, models: Sequence[str] | None, upscalers: Sequence[str] | None, loras: Sequence[str] | None
) -> Grants:
    """The grants with those kinds replaced that are given: globs, a leading `!` denies."""
    given = {"models": models, "upscalers": upscalers, "loras": loras}
    return replace(before, **{kind: names(globs) for kind, globs in given.items() if globs})


def new_grants(
    before: Grants, models: Sequence[str] | None, upscalers: Sequence[str] | None, loras: Sequence[str] | None
) -> Grants | None:
    """As `grants_with`, but None where no kind is given."""
    return grants_with(before, models, upscalers, loras) if models or upscalers or loras else None


def given(**values: Any) -> dict[str, Any]:  # noqa: ANN401 - options of any type
    """Those that are not None: the options that were used."""
    return {name: value for name, value in values.items() if value is not None}


def names(globs: Sequence[str]) -> Names:
    """Names from globs, of which those with a leading `!` are denied; `none` alone is the empty set."""
    if list(globs) == ["none"]:
        return Names(allow=())
    deny = tuple(glob[1:] for glob in globs if glob.startswith("!"))
    allow = tuple(glob for glob in globs if not glob.startswith("!"))
    return Names(allow or ("*",), deny)


def limits(words: Sequence[str], known: Sequence[str]) -> dict[str, float | int | None]:
    """Limits written `name=value`, where the value is a number or `none`."""
    found: dict[str, float | int | None] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise InvalidRequest(f'"{word}" is no limit; write it as name=value, such as requests_per_minute=120.')
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."
            raise InvalidRequest(f'There is no limit "{name}"; {hint}', field=name)
        found[name] = _limit(name, value)
    return found


def _limit(name: str, value: str) -> float | int | None:
    if value == "none":
        return None
    try:
        return int(value.replace("_", "")) if re.fullmatch(r"[\d_]+", value) else float(value)
    except ValueError as error:
        raise InvalidRequest(f'{name} cannot be "{value}"; give a number, or none for no quota.', field=name) from error


def json_of(text: str, what: str) -> Any:  # noqa: ANN401 - any JSON
    """JSON given as text, or as `@file`, or as `-` for standard input."""
    source = text_of(text[1:]) if text.startswith("@") else text_of("-") if text == "-" else text
    try:
        return json.loads(source)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The {what} are no JSON ({error}). Mind the shell's quotes, or give @file.") from error


def text_of(path: str) -> str:
    """What stands in a file, or in standard input for `-`, without the space around it."""
    try:
        return (sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f'"{path}" cannot be read; name a readable text file, or - for standard input.') from error
