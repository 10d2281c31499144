"""Whose fault a failed attempt is, and what follows: this process's book of faults, kept on the loop's clock.

The rules are the book's (`domain/faults.py`). What needs a backend's slot, a probe of a checkpoint, is asked of the
reloader; what every process must know, a backend that is down or set aside, is published by whoever finds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from gateway.domain.errors import AttemptFailed, BackendBroke, BackendUnfit, BackendUnreachable, GatewayError
from gateway.domain.faults import Attempted, FaultBook, Probe, Reload, fingerprint_of
from gateway.domain.parameters import Shaped
from gateway.domain.replies import Flaw
from gateway.flow.reload import Reloader, Suspect
from gateway.flow.snapshot import CurrentCatalogue


class Faults:
    """The book of faults of one process. `ask_remedy` takes what needs a backend's slot, and returns at once: a probe
    of a checkpoint that may be poisoned (`probe_failed` is called if it is), or loading one anew.
    """

    def __init__(self, ask_remedy: Callable[[Probe | Reload], None]) -> None:
        self._book = FaultBook()
        self._ask_remedy = ask_remedy

    def refuse(self, shaped: Shaped, fingerprint: Callable[[], str]) -> None:
        """Raise what speaks against sending this job anywhere now: it is at fault itself, or nobody can do it.

        The fingerprint, a hash of every picture in the request, is made only where it is needed.
        """
        now, checkpoint = _now(), _checkpoint(shaped)
        error = self._book.refusal(fingerprint, checkpoint, shaped.runnable_on, now) or self._book.unsupported(
            shaped.runnable_on, shaped.operation, now
        )
        if error is not None:
            raise error

    def candidates(self, shaped: Shaped, among: frozenset[str]) -> frozenset[str]:
        """Those that may get the job now; all of them where the book would leave none, as it may be out of date."""
        return self._book.usable(among, _checkpoint(shaped), shaped.operation, _now()) or among

    def succeeded(self, attempted: Attempted) -> None:
        """A verified answer: what was held against the place is forgiven."""
        self._book.succeeded(attempted, _now())

    def failed(self, attempted: Attempted, failure: GatewayError) -> None:
        """An attempt gave nothing usable. A refused connection, or options that are not right there, say nothing about
        the job, so they are not written down.
        """
        if isinstance(failure, BackendUnreachable | BackendUnfit) or not isinstance(failure, AttemptFailed):
            return
        remedy: Probe | Reload | None = None
        if isinstance(failure, BackendBroke):
            self._book.died(attempted, _now())
        elif failure.is_load_failure:
            remedy = self._book.load_failed(attempted.backend, attempted.checkpoint, _now())
        else:
            flaw = Flaw(failure.flaw) if failure.flaw else Flaw.NO_ANSWER
            remedy = self._book.failed(attempted, flaw, failure.signature or flaw.value, _now())
        if remedy is not None:
            self._ask_remedy(remedy)

    def probe_failed(self, probe: Probe) -> None:
        """The probe came back empty: the checkpoint is poisoned there."""
        self._book.probe_failed(probe, _now())

    def ended(self, job_id: str) -> None:
        """The job is over."""
        self._book.ended(job_id)

    def came_back(self, backend: str) -> None:
        """The backend was away, or its files were read anew: nothing is held against it any more."""
        self._book.came_back(backend)


def faults_of(reloader: Reloader, current: CurrentCatalogue) -> Faults:
    """The book of faults, told of backends that came back, asking for what needs a slot."""

    def ask(remedy: Probe | Reload) -> None:
        title = current.title_of(remedy.checkpoint, remedy.backend)
        tell = partial(faults.probe_failed, remedy) if isinstance(remedy, Probe) else None
        reloader.ask(Suspect(remedy.backend, title, tell))

    faults = Faults(ask)
    current.on_new_lists = faults.came_back
    return faults


def attempted(job_id: str, fingerprint: str, tenant: str, shaped: Shaped, backend: str) -> Attempted:
    """An attempt of a job on a backend, as the book knows it."""
    return Attempted(job_id, fingerprint, tenant, backend, _checkpoint(shaped), shaped.operation)


def _checkpoint(shaped: Shaped) -> str:
    return shaped.model.name if shaped.model else ""


def _now() -> float:
    return asyncio.get_running_loop().time()


__all__ = ["Faults", "attempted", "faults_of", "fingerprint_of"]
