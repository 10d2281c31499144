"""A backend, the states it can be in, and how a new server process is told from the one before.

Everything that decides whether a backend may take work is in this file.
"""

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
    """What the watcher knows of a backend; only `UP` takes new work.

    `UNSEEN`: nobody has looked at it since the dispatcher's lease was taken. `PREPARING`: it answers, and its managed
    options are not confirmed since its server process began.
    """

    UNSEEN = "unseen"
    PREPARING = "preparing"
    UP = "up"
    DOWN = "down"
    EJECTED = "ejected"
    SET_ASIDE = "set_aside"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Condition:
    """Why a backend is in its state, in words for its operator; "" needs none.

    `needs_restart`: only a new server process mends it. `began_at`: when the process that must be replaced began,
    seconds by the store's clock, 0.0 where nobody has asked it yet.
    """

    reason: str = ""
    needs_restart: bool = False
    began_at: float = 0.0


FIT = Condition()
NEEDS_RESTART = "It was to be restarted, and the same server process still answers: restart it."
_CLOCK_DRIFT_S = 1.0  # more than two clocks part between two looks
_LEADERS_DRIFT_S = 5.0  # the same over hours, and between the views of two leaders


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """One server process, known by when it began: between `earliest` and `latest`, seconds on one steady clock."""

    earliest: float
    latest: float

    @classmethod
    def told_by(cls, uptime_s: float, asked_at: float, answered_at: float) -> ServerProcess:
        """The process that answered its uptime (whole seconds, rounded down) between these two moments."""
        return cls(asked_at - uptime_s - 1.0, answered_at - uptime_s)

    def is_other_than(self, before: ServerProcess) -> bool:
        """Whether this is certainly not the process that was seen before."""
        return self.earliest > before.latest + _CLOCK_DRIFT_S or self.latest < before.earliest - _CLOCK_DRIFT_S


def is_replaced(condition: Condition, began_at: float) -> bool:
    """Whether the process that had to be replaced was: another one answers, which began at `began_at`."""
    return bool(condition.began_at) and abs(began_at - condition.began_at) > _LEADERS_DRIFT_S
