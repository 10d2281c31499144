"""A backend, and the states it can be in. Everything that decides whether a backend may take work is in this file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Backend:
    """One SD.Next server of the pool: where it is and how to talk to it. `url` has no trailing slash.

    `is_draining`: its operator wants it to get no new work. Kept apart from the rest, because a declared one can drain
    too.
    """

    name: str
    url: str
    username: str = ""
    password: str = ""
    is_managed: bool = True
    is_draining: bool = False

    def __repr__(self) -> str:
        """Without the password: values end up in logs."""
        return f"Backend({self.name!r})"


class BackendState(StrEnum):
    """What the watcher knows of a backend; only `UP` takes new work."""

    UNSEEN = "unseen"
    UP = "up"
    DOWN = "down"
    EJECTED = "ejected"
    SET_ASIDE = "set_aside"
    DRAINING = "draining"
