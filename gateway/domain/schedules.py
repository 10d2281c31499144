"""The schedules that can be asked for by `scheduler`, in the form in which A1111 lists its own.

SD.Next's list of that name is the samplers again, and fails (observed): this one is ours. Only those are in it that do
what they say: the plain ones, which leave the sampler its own, and those some sampler of the pool can do.
"""

from __future__ import annotations

from typing import Any

from gateway.domain.catalogue.merged import Catalogue

_Entry = tuple[str, str, tuple[str, ...], float]
_PLAIN: tuple[_Entry, ...] = (
    ("automatic", "Automatic", (), -1.0),
    ("uniform", "Uniform", (), -1.0),
    ("simple", "Simple", (), -1.0),
)
# schedule of SD.Next -> name and label as in A1111, where it has one; Karras' default rho is A1111's.
_OTHERS: tuple[tuple[str, _Entry], ...] = (
    ("karras", ("karras", "Karras", (), 7.0)),
    ("exponential", ("exponential", "Exponential", (), -1.0)),
    ("betas", ("beta", "Beta", ("betas",), -1.0)),
    ("lambdas", ("lambdas", "Lambdas", ("lu",), -1.0)),
    ("flowmatch", ("flowmatch", "Flow match", ("flow",), -1.0)),
)


def schedules_listed(catalogue: Catalogue) -> list[dict[str, Any]]:
    """The schedules that some sampler of the pool can do, with the plain ones before them."""
    possible = {schedule for sampler in catalogue.samplers for schedule in sampler.schedules}
    entries = (*_PLAIN, *(entry for schedule, entry in _OTHERS if schedule in possible))
    return [
        {"name": name, "label": label, "aliases": list(aliases), "default_rho": rho, "need_inner_model": False}
        for name, label, aliases, rho in entries
    ]
