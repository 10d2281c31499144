"""The catalogue's lists as a key sees them, in the shapes that A1111 and SD.Next clients read. No path is in any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.domain.catalogue import Catalogue, Sampler
from gateway.domain.catalogue.names import folded
from gateway.domain.keys import Grants
from gateway.domain.samplers import ALIASES, can_do, resolve_sampler, resolve_schedule
from gateway.domain.upscalers import NONE, aliases_of

# A1111's own names, as its lists show them: clients offer these to their users, or have them built in.
A1111_SAMPLERS = (
    "Euler a", "Euler", "LMS", "Heun", "DPM2", "DPM2 a", "DPM++ 2S a", "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE",
    "DPM++ 3M SDE", "DPM fast", "DPM adaptive", "DDIM", "PLMS", "UniPC",
)  # fmt: skip
A1111_SCHEDULES = ("Karras", "Exponential")


def models_listed(catalogue: Catalogue, grants: Grants) -> list[dict[str, Any]]:
    """The granted checkpoints: `title` and `model_name` are one and the same name, `filename` has no folder."""
    return [
        {
            "title": model.name,
            "model_name": model.name,
            "hash": model.hash or None,
            "sha256": model.sha256 or None,
            "type": model.kind,
            "filename": model.file_name,
            "config": None,
        }
        for model in catalogue.models
        if model.name in grants.models
    ]


def samplers_listed(catalogue: Catalogue) -> list[dict[str, Any]]:
    """The pool's samplers with their aliases, then A1111's names that work here. `options` values are strings."""
    known = {folded(sampler.name) for sampler in catalogue.samplers}
    other = [name for name in _a1111_names(catalogue) if folded(name) not in known]
    return [_sampler(sampler) for sampler in catalogue.samplers] + [
        {"name": name, "aliases": [], "options": {}} for name in other
    ]


def upscalers_listed(catalogue: Catalogue, grants: Grants, aliases: Mapping[str, str]) -> list[dict[str, Any]]:
    """The granted upscalers and the other names that work for them; `scale` is what each was made for."""
    granted = [upscaler for upscaler in catalogue.upscalers if upscaler.name in grants.upscalers]
    named = [(upscaler.name, upscaler) for upscaler in granted if upscaler.name != NONE]
    named += [(name, upscaler) for name, upscaler in aliases_of(catalogue, aliases) if upscaler in granted]
    return [_upscaler(NONE, 1.0)] + [_upscaler(name, upscaler.scale) for name, upscaler in named]


def _upscaler(name: str, scale: float) -> dict[str, Any]:
    return {"name": name, "model_name": name, "model_path": None, "model_url": None, "scale": float(scale)}


def _sampler(sampler: Sampler) -> dict[str, Any]:
    aliases = [alias for alias, name in ALIASES.items() if folded(name) == folded(sampler.name)]
    options = {key: str(value) for key, value in sampler.options.items()}
    return {"name": sampler.name, "aliases": [*sampler.aliases, *aliases], "options": options}


def _a1111_names(catalogue: Catalogue) -> list[str]:
    plain = [name for name in A1111_SAMPLERS if resolve_sampler(name, catalogue)]
    combined = []
    for name in plain:
        choice = resolve_sampler(name, catalogue)
        for schedule in A1111_SCHEDULES:
            if choice and can_do(choice.name, resolve_schedule(schedule) or "", catalogue):
                combined.append(f"{name} {schedule}")
    return plain + combined
