"""Whose fault failures are, over time: strikes, ejection with back-off, acquittal, poisoned checkpoints.

Whether a single answer is the caller's, the operator's or a backend's fault is decided in `replies`; this book is told
only of attempts that failed or succeeded. Rules:
(1) A failure is at first a suspicion. It becomes a strike when the same job then succeeds elsewhere, or when a second
    tenant fails at the same place.
(2) A place is (backend, checkpoint) or, for an upscale, (backend, operation). The operation of a backend is struck
    too, but out only when two of its checkpoints are.
(3) Two strikes put a place out, after that each further one; the time doubles. A success forgives everything there.
(4) Of the backends a job could use, at most a third are out for strikes; those struck most recently.
(5) A job that fails alike on two backends is itself at fault: both are acquitted, its like is refused for 5 minutes.
    One under which two backends died is never sent again.
(6) An empty answer under a checkpoint: it may be poisoned there, or the request may be one that cannot work anywhere.
    A probe tells which, a request that every checkpoint can do; a place is probed at most once a minute. Only if that
    comes back empty too is the checkpoint loaded anew, and out there until a job succeeded or the time is over
    (decision 0056).
(7) A checkpoint that fails to load is out on that backend; after a second backend, or where no other has it, it is
    refused, 60 s doubling, so that one name cannot unload the pool. It is loaded anew once, for each backend once a
    minute at most: that shows whether its file or the server is broken (decision 0055).
(8) An operation without a checkpoint that cannot work on a backend (a known defect, or the same failure for two
    tenants where it never worked) is unsupported there; the others go on. Generation is never taken for unsupported:
    what fails there alike for everybody are the requests.
One owner, no clock: `now` is in seconds on any steady scale. Memory is bounded; what is oldest is forgotten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from gateway.domain.errors import GatewayError, InvalidRequest, NoCapacity
from gateway.domain.jobs import Operation
from gateway.domain.parameters.context import Shaped
from gateway.domain.rendering import parameters_echo
from gateway.domain.replies.verdicts import Flaw

K = TypeVar("K")
V = TypeVar("V")

STRIKES = 2
FIRST_EJECTION_S, LONGEST_EJECTION_S = 10.0, 600.0
FIRST_REFUSAL_S, LONGEST_REFUSAL_S = 60.0, 3600.0
POISONED_S = 60.0
PROBE_EVERY_S = 60.0
UNSUPPORTED_S = 1800.0
REFUSED_ALIKE_S = 300.0
NEVER_AGAIN_S = 24 * 3600.0
SUSPICION_S = 600.0
SWEEP_EVERY_S = 60.0
LOOK_INTO_EVERY_S = 60.0
_MOST_KEPT = 10_000
_DEADLY = 2
_LOADS_TRIED = 2
_THIRD = 3
_DIED = "died"


@dataclass(frozen=True, slots=True)
class Attempted:
    """One attempt of a job. `checkpoint` is "" for an upscale; `fingerprint` is equal for equal requests, and needed
    only where the attempt failed.
    """

    job_id: str
    fingerprint: str
    tenant: str
    backend: str
    checkpoint: str
    operation: Operation


@dataclass(frozen=True, slots=True)
class Probe:
    """What an empty answer asks for: whether this checkpoint still makes pictures on that backend, and if not, to load
    it anew, while the slot is held.
    """

    backend: str
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Reload:
    """A checkpoint that could not be loaded on that backend: load it anew, and find out what is broken."""

    backend: str
    checkpoint: str


@dataclass(slots=True)
class _Place:
    """What is known against one place. `out_until` and `at` are times, `tenants` those whose failure is a suspicion."""

    strikes: int = 0
    ejections: int = 0
    out_until: float = 0.0
    at: float = 0.0
    tenants: set[str] = field(default_factory=set)
    has_worked: bool = False


@dataclass(frozen=True, slots=True)
class _Suspicion:
    attempt: Attempted
    signature: str
    at: float


def fingerprint_of(shaped: Shaped) -> str:
    """Equal for requests that ask the same of a backend, whoever sends them; 32 hex digits."""
    digest = hashlib.sha256(msgspec.json.encode([shaped.operation, parameters_echo(shaped)]))
    for name in sorted(shaped.fields):
        for picture in _pictures_in(shaped.fields[name]):
            digest.update(name.encode())
            digest.update(memoryview(picture))
    return digest.hexdigest()[:32]


def _pictures_in(value: object) -> Iterator[msgspec.Raw]:
    """All pictures in a field, those of control units, adapters, faces and scripts too; the echo has none of them."""
    if isinstance(value, msgspec.Raw):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _pictures_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _pictures_in(part)


class FaultBook:
    """The book of one pool. All methods are cheap; only their owner calls them."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], _Place] = {}
        self._suspicions: dict[str, list[_Suspicion]] = {}
        self._refused: dict[str, tuple[float, str]] = {}
        self._deaths: dict[str, tuple[float, frozenset[str]]] = {}
        self._poisoned: dict[tuple[str, str], tuple[float, int]] = {}
        self._next_probe: dict[tuple[str, str], float] = {}
        self._loads: dict[str, tuple[float, int, frozenset[str]]] = {}
        self._looked_into: dict[str, float] = {}
        self._unsupported: dict[tuple[str, Operation], float] = {}
        self._alike: dict[tuple[str, Operation, str], frozenset[str]] = {}
        self._set_aside: dict[str, str] = {}
        self._next_sweep = 0.0
        self._last_ejection_ends = 0.0

    # --- what happened -------------------------------------------------------------------------

    def failed(self, attempt: Attempted, flaw: Flaw, signature: str, now: float) -> Probe | None:
        """An attempt gave nothing usable; `signature` is equal for failures that are alike. The probe needed, if
        any.
        """
        self._sweep(now)
        self._blame(attempt, flaw, signature, now)
        pair = attempt.backend, attempt.checkpoint
        if flaw is not Flaw.EMPTY or not attempt.checkpoint or self._next_probe.get(pair, 0.0) > now:
            return None
        self._next_probe[pair] = now + PROBE_EVERY_S  # (6) also where it failed alike elsewhere: both may be poisoned
        return Probe(*pair)

    def _blame(self, attempt: Attempted, flaw: Flaw, signature: str, now: float) -> None:
        if flaw is Flaw.DEFECT:  # (8)
            self._unsupported[attempt.backend, attempt.operation] = now + UNSUPPORTED_S
            return
        earlier = [s for s in self._suspicions.get(attempt.job_id, ()) if s.attempt.backend != attempt.backend]
        if any(suspicion.signature == signature for suspicion in earlier):  # (5)
            self._suspect_operation([attempt, *(s.attempt for s in earlier)], signature, now)
            self._acquit([attempt, *(s.attempt for s in earlier)])
            self._refused[attempt.fingerprint] = now + REFUSED_ALIKE_S, "failed alike on two servers"
            return
        self._suspicions.setdefault(attempt.job_id, []).append(_Suspicion(attempt, signature, now))
        self._suspect(attempt, now)

    def died(self, attempt: Attempted, now: float) -> None:
        """The backend closed the connection, or vanished, while it worked on this attempt."""
        at, backends = self._deaths.get(attempt.fingerprint, (now, frozenset()))
        backends = backends if now - at < NEVER_AGAIN_S else frozenset()
        backends |= {attempt.backend}
        self._deaths[attempt.fingerprint] = now, backends
        self.failed(attempt, Flaw.NO_ANSWER, _DIED, now)
        if len(backends) >= _DEADLY:  # (5)
            self._refused[attempt.fingerprint] = now + NEVER_AGAIN_S, "made two servers die"

    def succeeded(self, attempt: Attempted, now: float) -> None:
        """A verified answer: it convicts where the same job failed before, and forgives everything here."""
        self._sweep(now)
        for suspicion in self._suspicions.pop(attempt.job_id, ()):
            if suspicion.attempt.backend != attempt.backend:
                self._strike(suspicion.attempt, now)  # (1)
        for place in _places_of(attempt):
            self._places[place] = _Place(has_worked=True, at=now)
        self._acquit_checkpoint(attempt)
        self._unsupported.pop((attempt.backend, attempt.operation), None)
        self._loads.pop(attempt.checkpoint, None)

    def probe_failed(self, probe: Probe, now: float) -> None:
        """The gateway's own request came back empty there too: no tenant can be at fault."""
        pair = probe.backend, probe.checkpoint
        times = self._poisoned.get(pair, (0.0, 0))[1]
        self._poisoned[pair] = now + POISONED_S, times + 1
        # A checkpoint that makes no picture of mere words, as one that only edits, must not be loaded anew for ever.
        self._next_probe[pair] = now + min(PROBE_EVERY_S * 2**times, LONGEST_REFUSAL_S)

    def load_failed(self, backend: str, checkpoint: str, now: float) -> Reload | None:
        """A checkpoint could not be loaded on a backend. The remedy, if any."""
        _, times, before = self._loads.get(checkpoint, (0.0, 0, frozenset()))
        backends = before | {backend}
        seconds = min(FIRST_REFUSAL_S * 2**times, LONGEST_REFUSAL_S)
        is_refused = len(backends) >= _LOADS_TRIED or backend in before
        self._loads[checkpoint] = now + seconds, times + is_refused, backends  # (7)
        if now < self._looked_into.get(backend, 0.0):
            return None
        self._looked_into[backend] = now + LOOK_INTO_EVERY_S
        return Reload(backend, checkpoint)

    def set_aside(self, backend: str, reason: str) -> None:
        """The backend gets nothing until `came_back`: the operator has to look."""
        self._set_aside[backend] = reason

    def came_back(self, backend: str) -> None:
        """The backend was started anew, or someone has looked: nothing is held against it any more."""
        self._set_aside.pop(backend, None)
        self._places = {place: known for place, known in self._places.items() if place[0] != backend}
        for pair, (_, times) in self._poisoned.items():
            if pair[0] == backend:
                self._poisoned[pair] = 0.0, times
        self._unsupported = {pair: until for pair, until in self._unsupported.items() if pair[0] != backend}
        self._alike = {key: tenants for key, tenants in self._alike.items() if key[0] != backend}

    def ended(self, job_id: str) -> None:
        """A job is over: an unproven suspicion stays with the place, but no longer with the job."""
        self._suspicions.pop(job_id, None)

    # --- what follows --------------------------------------------------------------------------

    @property
    def reasons(self) -> dict[str, str]:
        """Backends that are set aside, and why."""
        return dict(self._set_aside)

    def usable(self, backends: Collection[str], checkpoint: str, operation: Operation, now: float) -> frozenset[str]:
        """Those of `backends` that may get such a job now."""
        if now >= self._last_ejection_ends and not (
            self._set_aside or self._unsupported or self._loads or self._poisoned
        ):
            return frozenset(backends)  # as nearly always: a call costs no look at each backend
        able = frozenset(b for b in backends if self._is_able(b, checkpoint, operation, now))
        struck = sorted(
            (known.at, b) for b in able if (known := self._struck(b, checkpoint, operation, now)) is not None
        )
        most = len(backends) // _THIRD  # (4)
        return able - {backend for _, backend in struck[len(struck) - most :]} if most else able

    def refusal(
        self, fingerprint: Callable[[], str], checkpoint: str, able: Collection[str], now: float
    ) -> GatewayError | None:
        """Why this job is not to be sent anywhere at all now; None when nothing speaks against it.

        The fingerprint is asked for only while some request is refused. `able`: the backends that have all it needs.
        """
        until, reason = self._refused.get(fingerprint(), (0.0, "")) if self._refused else (0.0, "")
        if until > now:
            return InvalidRequest(f"This same request {reason}. It is not tried again for now: change the request.")
        until, _, backends = self._loads.get(checkpoint, (0.0, 0, frozenset()))
        if checkpoint and until > now and (len(backends) >= _LOADS_TRIED or backends.issuperset(able)):
            return NoCapacity(f'The model "{checkpoint}" cannot be loaded at present. Use another one.', until - now)
        return None

    def unsupported(self, backends: Collection[str], operation: Operation, now: float) -> GatewayError | None:
        """The refusal when none of the backends can do the operation at all, None when one can."""
        ends = [self._unsupported.get((backend, operation), 0.0) for backend in backends]
        if not ends or min(ends) <= now:
            return None
        verb = {Operation.UPSCALE: "upscale", Operation.CAPTION: "describe pictures"}.get(operation, "generate")
        return NoCapacity(f"No backend can {verb} at present.", min(ends) - now)

    # --- helpers -------------------------------------------------------------------------------

    def _is_able(self, backend: str, checkpoint: str, operation: Operation, now: float) -> bool:
        if backend in self._set_aside or self._unsupported.get((backend, operation), 0.0) > now:
            return False
        until, _, backends = self._loads.get(checkpoint, (0.0, 0, frozenset()))
        if checkpoint and until > now and backend in backends:
            return False
        return self._poisoned.get((backend, checkpoint), (0.0, 0))[0] <= now

    def _struck(self, backend: str, checkpoint: str, operation: Operation, now: float) -> _Place | None:
        own = self._places.get((backend, checkpoint)) if checkpoint else None
        if own is not None and own.out_until > now:
            return own
        whole = self._places.get((backend, operation.value))
        if whole is None or whole.out_until <= now:
            return None
        # (2) one bad checkpoint does not condemn the backend
        return whole if not checkpoint or self._bad_checkpoints(backend, now) > 1 else None

    def _bad_checkpoints(self, backend: str, now: float) -> int:
        operations = {operation.value for operation in Operation}
        return sum(
            1
            for (name, what), known in self._places.items()
            if name == backend and what not in operations and known.out_until > now
        )

    def _suspect(self, attempt: Attempted, now: float) -> None:
        for key in _places_of(attempt):
            known = self._places.setdefault(key, _Place())
            known.tenants.add(attempt.tenant)
            known.at = now
        if any(len(self._places[key].tenants) > 1 for key in _places_of(attempt)[:1]):
            self._strike(attempt, now)  # (1) two tenants

    def _strike(self, attempt: Attempted, now: float) -> None:
        for key in _places_of(attempt):
            known = self._places.setdefault(key, _Place())
            known.strikes, known.at = known.strikes + 1, now
            known.tenants.clear()
            if known.strikes >= STRIKES or known.ejections:  # (3)
                known.out_until = now + min(FIRST_EJECTION_S * 2**known.ejections, LONGEST_EJECTION_S)
                self._last_ejection_ends = max(self._last_ejection_ends, known.out_until)
                known.ejections += 1
                known.strikes = 0

    def _acquit(self, attempts: list[Attempted]) -> None:
        for attempt in attempts:
            for key in _places_of(attempt):
                if (known := self._places.get(key)) is not None:
                    known.tenants.discard(attempt.tenant)
            self._suspicions.pop(attempt.job_id, None)

    def _acquit_checkpoint(self, attempt: Attempted) -> None:
        """(6) A picture made of words says that a probe can be believed, one made of a picture only that it works."""
        pair = attempt.backend, attempt.checkpoint
        if attempt.operation is Operation.TXT2IMG:
            self._poisoned.pop(pair, None)
        elif pair in self._poisoned:
            self._poisoned[pair] = 0.0, self._poisoned[pair][1]

    def _suspect_operation(self, attempts: list[Attempted], signature: str, now: float) -> None:
        """(8) Where the operation never worked, a second tenant with the same failure shows that it cannot."""
        if attempts[0].checkpoint:
            return  # two tenants can send the same impossible request; a defect of a server shows by itself
        for attempt in attempts:
            whole = self._places.get((attempt.backend, attempt.operation.value))
            if whole is not None and whole.has_worked:
                continue
            key = attempt.backend, attempt.operation, signature
            self._alike[key] = self._alike.get(key, frozenset()) | {attempt.tenant}
            if len(self._alike[key]) > 1:
                self._unsupported[attempt.backend, attempt.operation] = now + UNSUPPORTED_S

    def _sweep(self, now: float) -> None:
        """Forget what is old, now and then, and the oldest of what is too much."""
        is_full = max(len(self._refused), len(self._deaths), len(self._suspicions), len(self._places)) > _MOST_KEPT
        if now < self._next_sweep and not is_full:
            return
        self._next_sweep = now + SWEEP_EVERY_S
        self._refused = {key: value for key, value in _newest(self._refused) if value[0] > now}
        self._deaths = {key: value for key, value in _newest(self._deaths) if now - value[0] < NEVER_AGAIN_S}
        self._suspicions = {key: value for key, value in _newest(self._suspicions) if now - value[-1].at < SUSPICION_S}
        self._places = dict(_newest(self._places))
        self._alike = dict(_newest(self._alike))
        self._poisoned = dict(_newest(self._poisoned))
        self._next_probe = {pair: at for pair, at in _newest(self._next_probe) if at > now}


def _places_of(attempt: Attempted) -> list[tuple[str, str]]:
    """The place that is under suspicion first, then the operation of that backend."""
    whole = (attempt.backend, attempt.operation.value)
    return [(attempt.backend, attempt.checkpoint), whole] if attempt.checkpoint else [whole]


def _newest(kept: dict[K, V]) -> list[tuple[K, V]]:
    """Half of what may be kept, so that a full book is not swept at every entry."""
    return list(kept.items())[-_MOST_KEPT // 2 :]
