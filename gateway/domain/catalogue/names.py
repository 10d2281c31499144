"""How names are compared: level by level, exact before case- and slash-insensitive."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_HASH = re.compile(r"[0-9a-fA-F]{6,64}")
_MOST_COMPARED = 100  # each takes time with the square of its length: 0.6 ms at the worst
_COMPARED_CHARACTERS = 80
_MODEL_SUFFIXES = (".safetensors", ".ckpt", ".gguf", ".sft", ".pth", ".pt", ".bin")


def folded(name: str) -> str:
    """The form in which two spellings of one name are equal: lower case, forward slashes, no outer space."""
    return name.strip().replace("\\", "/").lower()


def file_name_of(path: str) -> str:
    """The last part of a path of either kind of slash."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def without_hash(title: str) -> str:
    """The title without the hash in brackets that servers put behind it."""
    name, bracket, rest = title.rpartition("[")
    is_hash = bracket and rest.endswith("]") and _HASH.fullmatch(rest[:-1])
    return name.rstrip() if is_hash else title


def without_suffix(name: str) -> str:
    """The name without the extension of a weights file, if it has one."""
    low = name.lower()
    for suffix in _MODEL_SUFFIXES:
        if low.endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The name most like this one among those that may be told, "" when none is near. Bounded: compares a hundred
    names at most.
    """
    low = folded(name)[:_COMPARED_CHARACTERS]
    alike: dict[str, str] = {}
    for candidate in allowed:
        form = folded(candidate)
        if form[:1] == low[:1] and len(form) <= _COMPARED_CHARACTERS:
            alike[form] = candidate
            if len(alike) >= _MOST_COMPARED:
                break
    found = difflib.get_close_matches(low, alike, n=1)
    return alike[found[0]] if found else ""


@dataclass(frozen=True, slots=True)
class _Level(Generic[T]):
    exact: Mapping[str, tuple[T, ...]]
    loose: Mapping[str, tuple[T, ...]]


@dataclass(frozen=True, slots=True)
class NameIndex(Generic[T]):
    """Finds things by any of their names, in one dictionary look-up for each level."""

    levels: tuple[_Level[T], ...] = ()

    def hits(self, name: str) -> tuple[T, ...]:
        """All things that bear this name at the first level where any does, exact before loose; () when none."""
        loose = folded(name)
        for level in self.levels:
            found = level.exact.get(name) or level.loose.get(loose)
            if found:
                return found
        return ()

    @staticmethod
    def build(levels: Iterable[Iterable[tuple[str, T]]]) -> NameIndex[T]:
        """An index over (name, thing) pairs, the strongest level first; empty names are left out."""
        return NameIndex(tuple(_level(pairs) for pairs in levels))


def _level(pairs: Iterable[tuple[str, T]]) -> _Level[T]:
    exact: defaultdict[str, list[T]] = defaultdict(list)
    loose: defaultdict[str, list[T]] = defaultdict(list)
    for name, thing in pairs:
        if name:
            exact[name].append(thing)
            loose[folded(name)].append(thing)
    return _Level(_each_once(exact), _each_once(loose))


def _each_once(table: Mapping[str, list[T]]) -> dict[str, tuple[T, ...]]:
    """Each thing once under a name, in order, without comparing: a list may have one name a hundred thousand times."""
    return {
        name: tuple(things) if len(things) == 1 else tuple({id(thing): thing for thing in things}.values())
        for name, things in table.items()
    }
