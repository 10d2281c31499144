"""Faults on demand and by schedule: which request is hit, and by what. Pure; `fault_middleware` carries them out.

A fault is written `NAME[=p][,key=value...]`: `hang`, `500=0.1`, `slow=1,seconds=5,path=/sdapi/v1/txt2img`,
`reset,after=3,times=2`. Dice are drawn from a seed, so that the same run is hit in the same places.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from typing import Any

NAMES = (
    "refuse",
    "reset",
    "reset-mid",
    "hang",
    "slow",
    "500",
    "empty",
    "wrong-model",
    "truncated",
    "cut-json",
    "bad-utf8",
    "html",
    "gzip",
    "oom",
    "oom-kill",
    "401",
    "429",
)
WORK_PATHS = ("/sdapi/v1/txt2img", "/sdapi/v1/img2img", "/sdapi/v1/extra-single-image", "/sdapi/v1/extra-batch-images")


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, how often, where and when.

    `p` is the share of matching requests hit (0 to 1). `path` is one path, `*` for all, or `work` for what makes
    pictures. The first `after` matching requests pass, then at most `times` are hit, each `every`-th only; requests
    count, and are hit, from `start` to `end` only: real seconds since the first request that this fault saw. `seconds`
    are simulated: how much slower `slow` is, how long `refuse` lasts (None: until accepted again). `status` is that of
    `html`.
    """

    name: str
    p: float = 1.0
    path: str = "work"
    after: int = 0
    times: int | None = None
    every: int = 1
    start: float = 0.0
    end: float | None = None
    seconds: float | None = None
    status: int = 200

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"unknown fault {self.name!r}; known are {', '.join(NAMES)}")
        if not 0 <= self.p <= 1 or self.every < 1:
            raise ValueError("a fault's p lies between 0 and 1, and every is at least 1")

    def matches(self, path: str) -> bool:
        """Whether requests to this path can be hit."""
        if self.path == "work":
            return path in WORK_PATHS
        return self.path in ("*", path)


def parse_fault(text: str) -> Fault:
    """The fault written as text. Raises ValueError with the reason."""
    head, *rest = text.split(",")
    name, _, p = head.partition("=")
    values: dict[str, Any] = {"name": name.strip()}
    if p:
        values["p"] = float(p)
    readers = {
        "path": str,
        "after": int,
        "times": int,
        "every": int,
        "start": float,
        "end": float,
        "seconds": float,
        "status": int,
    }
    for part in rest:
        key, separator, value = part.partition("=")
        if not separator or key.strip() not in readers:
            raise ValueError(f"cannot read {part!r} in fault {text!r}; write one of {', '.join(readers)} as key=value")
        values[key.strip()] = readers[key.strip()](value)
    return Fault(**values)


def fault_from_json(value: dict[str, Any]) -> Fault:
    """The fault given as a JSON object with the same names. Raises ValueError with the reason."""
    known = {f.name for f in fields(Fault)}
    unknown = set(value) - known
    if unknown or "name" not in value:
        raise ValueError(f"a fault has the keys {', '.join(sorted(known))}; got {', '.join(sorted(value)) or 'none'}")
    return Fault(**value)


@dataclass(slots=True)
class _Armed:
    fault: Fault
    since: float | None = None
    seen: int = 0
    hit: int = 0


class FaultTable:
    """The faults now in force, with their counts."""

    def __init__(self, faults: tuple[Fault, ...], seed: int) -> None:
        self._seed = seed
        self._drawn = 0
        self._armed = [_Armed(fault) for fault in faults]

    def arm(self, fault: Fault) -> None:
        """Add a fault; its counts start now."""
        self._armed.append(_Armed(fault))

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._armed = []

    def listing(self) -> list[dict[str, Any]]:
        """Each fault with how many requests it has seen and hit."""
        named = [(armed, {f.name: getattr(armed.fault, f.name) for f in fields(Fault)}) for armed in self._armed]
        return [{**values, "seen": armed.seen, "hit": armed.hit} for armed, values in named]

    def draw(self, path: str, now: float) -> Fault | None:
        """The fault that hits this request at `now` (seconds), the first that does; counts it."""
        for armed in self._armed:
            if armed.fault.matches(path) and _is_in_force(armed, now) and self._hits(armed):
                armed.hit += 1
                return replace(armed.fault)
        return None

    def _hits(self, armed: _Armed) -> bool:
        fault = armed.fault
        armed.seen += 1
        due = armed.seen > fault.after and (armed.seen - fault.after - 1) % fault.every == 0
        spent = fault.times is not None and armed.hit >= fault.times
        return due and not spent and self._dice() < fault.p

    def _dice(self) -> float:
        self._drawn += 1
        digest = hashlib.sha256(f"{self._seed}:{self._drawn}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48


def _is_in_force(armed: _Armed, now: float) -> bool:
    armed.since = now if armed.since is None else armed.since
    age = now - armed.since
    return age >= armed.fault.start and (armed.fault.end is None or age < armed.fault.end)
