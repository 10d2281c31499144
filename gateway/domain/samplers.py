"""Which sampler and which schedule a caller means, in the words of A1111 and of SD.Next.

SD.Next matches samplers in any case and answers 404 to A1111's combined names; it takes a schedule only as
`schedulers_sigma`, only in lower case, and ignores any other spelling in silence (observed).
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.domain.catalogue.inventory import Sampler
from gateway.domain.catalogue.merged import Catalogue
from gateway.domain.catalogue.names import folded

DEFAULT = "Default"
SAME = "Same as primary"

SCHEDULES = {
    "karras": "karras",
    "beta": "betas",
    "betas": "betas",
    "exponential": "exponential",
    "lambdas": "lambdas",
    "lu": "lambdas",
    "flowmatch": "flowmatch",
    "flow": "flowmatch",
    "ka": "karras",
}
"""What callers write, folded -> what `schedulers_sigma` takes."""

PLAIN_SCHEDULES = frozenset({"", "automatic", "normal", "simple", "default", "none", "uniform", "use same scheduler"})
"""Schedules that mean the sampler's own: nothing is sent."""

OTHER_SCHEDULES = frozenset(
    {
        "sgm uniform",
        "sgm_uniform",
        "kl optimal",
        "kl_optimal",
        "align your steps",
        "align_your_steps",
        "ddim",
        "polyexponential",
    }
    | {
        "turbo",
        "align your steps gits",
        "align_your_steps_gits",
        "align your steps 11",
        "align_your_steps_11",
        "align your steps 32",
    }
)
"""Schedules of A1111 and Forge that SD.Next does not have: dropped and told."""

ALIASES = {
    "dpm2": "KDPM2",
    "dpm2 a": "KDPM2 a",
    "dpm++ 2s a": "DPM++ 1S",
    "lms": "LMSD",
    "plms": "PNDM",
    "dpm fast": "DPM++ 2M",
    "dpm adaptive": "DPM++ 2M",
    "dpm++ 2m sde heun": "DPM++ 2M SDE",
    "dpm++ 3m sde": "DPM++ 3M SDE",
    "euler ancestral": "Euler a",
    "k_euler": "Euler",
    "k_euler_a": "Euler a",
    "k_euler_ancestral": "Euler a",
    "k_heun": "Heun",
    "k_lms": "LMSD",
    "k_dpm_2": "KDPM2",
    "k_dpm_2_a": "KDPM2 a",
    "k_dpm_2_ancestral": "KDPM2 a",
    "k_dpmpp_2s_a": "DPM++ 1S",
    "k_dpmpp_2s": "DPM++ 1S",
    "k_dpmpp_2m": "DPM++ 2M",
    "k_dpmpp_sde": "DPM++ SDE",
    "k_dpmpp_2m_sde": "DPM++ 2M SDE",
    "k_dpmpp_3m_sde": "DPM++ 3M SDE",
    "k_dpm_fast": "DPM++ 2M",
    "k_dpm_ad": "DPM++ 2M",
    "k_dpm_adaptive": "DPM++ 2M",
    "unipc": "UniPC",
}
"""Names of A1111 and its API, folded -> the sampler of SD.Next that does the same or comes nearest."""

LEAST_STEPS = {"pndm": 4}
"""Sampler, folded -> the fewest steps with which it makes a picture. Of the 113 samplers of SD.Next 058a7f0cf only PNDM
has such a number: it begins with Runge-Kutta steps that need the last four of its timesteps (diffusers,
`PNDMScheduler.set_timesteps`). All were run with 1 to 20 steps (decision 0056)."""

_SUFFIX_MARKS = " _"
# Longest first: "sgm uniform" is one schedule, not a sampler "... sgm" with "uniform".
_SUFFIXES = tuple(
    sorted((PLAIN_SCHEDULES | OTHER_SCHEDULES | SCHEDULES.keys()) - {""}, key=lambda word: (-len(word), word))
)


@dataclass(frozen=True, slots=True)
class Choice:
    """A resolved sampler. `schedule` is the word for one in the caller's name, "" when there is none."""

    name: str
    schedule: str = ""


def resolve_sampler(name: str, catalogue: Catalogue) -> Choice | None:
    """The sampler and the schedule in its name ("DPM++ 2M Karras", `k_dpmpp_2m_ka`), None when unknown."""
    found = _find(name, catalogue)
    if found is not None:
        return Choice(found)
    low = folded(name)
    for word in _SUFFIXES:
        if low.endswith(word) and len(low) > len(word) + 1 and low[-len(word) - 1] in _SUFFIX_MARKS:
            found = _find(low[: -len(word) - 1], catalogue)
            if found is not None:
                return Choice(found, word)
    return None


def resolve_schedule(word: str) -> str | None:
    """What `schedulers_sigma` takes for a caller's word, "" for the sampler's own, None when there is none like it."""
    low = folded(word)
    return "" if low in PLAIN_SCHEDULES else SCHEDULES.get(low)


def can_do(sampler: str, schedule: str, catalogue: Catalogue) -> bool:
    """Whether any backend's sampler of that name takes the schedule."""
    known = catalogue.sampler_index.get(folded(sampler))
    return known is not None and schedule in known.schedules


def _find(name: str, catalogue: Catalogue) -> str | None:
    low = folded(name)
    if low == folded(DEFAULT):
        return DEFAULT
    sampler: Sampler | None = catalogue.sampler_index.get(low)
    if sampler is None and (alias := ALIASES.get(low)) is not None:
        sampler = catalogue.sampler_index.get(folded(alias))
    if sampler is None:
        sampler = next((s for s in catalogue.samplers if any(folded(a) == low for a in s.aliases)), None)
    return None if sampler is None else sampler.name


_SHOWN = ("Karras", "Exponential")
_SHOWN_SOLVERS = (
    ("DPM++ 2M", "DPM++ 2M"),
    ("DPM++ SDE", "DPM++ SDE"),
    ("DPM++ 2M SDE", "DPM++ 2M SDE"),
    ("DPM++ 3M SDE", "DPM++ 3M SDE"),
    ("DPM++ 2S a", "DPM++ 1S"),
    ("DPM2", "KDPM2"),
    ("DPM2 a", "KDPM2 a"),
    ("LMS", "LMSD"),
)


def working_names(catalogue: Catalogue) -> dict[str, str]:
    """Names of A1111 that work on this pool ("DPM++ 2M Karras", `k_euler_a`) -> the sampler each stands for."""
    combined = {
        f"{shown} {word}": name
        for shown, name in _SHOWN_SOLVERS
        for word in _SHOWN
        if can_do(name, word.lower(), catalogue)
    }
    aliases = {
        _shown(alias): sampler.name
        for alias, name in ALIASES.items()
        if (sampler := catalogue.sampler_index.get(folded(name))) is not None and folded(alias) != folded(name)
    }
    return combined | {
        name: sampler for name, sampler in aliases.items() if folded(name) not in catalogue.sampler_index
    }


def _shown(alias: str) -> str:
    """The spelling clients know: A1111's names have capitals, its API's names (`k_...`) have none."""
    if "_" in alias:
        return alias
    return " ".join(word.upper() if word[:3] in _UPPER else word for word in alias.split())


_UPPER = ("dpm", "lms", "plm", "2m", "3m", "2s", "sde")
