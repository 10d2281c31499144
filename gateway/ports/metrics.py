"""What is counted and measured while the gateway works, in its own words; how it is shown is an adapter's business.

Every method takes microseconds, never raises and never waits: it is called on the path of every call. Labels are names
of ours and of the operator's (routes, outcomes, backends, models), never a key, a tenant, a prompt or an address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class EndedCall:
    """One HTTP call that was answered or broken off. Times in seconds.

    `route` is a name of ours, `status` the HTTP status (0 when nothing was answered), `reason` the class of the error
    it was refused or failed with, "" for none. `own_s` is what the gateway itself took: from the body's last byte to
    the answer's first, without waiting for a backend or its work; None where nobody measured that.
    """

    route: str
    status: int
    reason: str
    seconds: float
    own_s: float | None
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of one process at one moment. `backends` maps a name to its state and is empty unless this leads.

    `set_aside`: records that the ledger cannot keep, as the leader knows. `budget_*`: the byte budget, what of it is
    taken, and how many bodies wait for room in it.
    """

    is_ready: bool
    is_leading: bool
    waiting: int
    running: int
    unheard: int
    store_silent_s: float
    late_s: float
    backends: Mapping[str, str] = field(default_factory=dict)
    recovering: frozenset[str] = frozenset()
    loops: Mapping[str, tuple[bool, int]] = field(default_factory=dict)
    models: int = 0
    set_aside: int = 0
    budget_bytes: int = 0
    budget_used_bytes: int = 0
    budget_waiting: int = 0


class Meter(Protocol):
    """Counts what happens."""

    def call_ended(self, call: EndedCall) -> None:
        """One call is over."""

    def bytes_held(self, change: int) -> None:
        """So many bytes of request bodies more (or, negative, fewer) are held for calls under way."""

    def job_ended(self, fields: Mapping[str, Any]) -> None:
        """One admitted job is over; `fields` are those of its log line."""

    def store_answered(self, store: str, operation: str, seconds: float) -> None:
        """`redis` or `sql` did something, or failed to: one script, command or transaction."""

    def sampled(self, sample: Sample) -> None:
        """The state of the process now."""
