"""The catalogue's lists as a key sees them, in the shapes that A1111 and SD.Next clients read. No path is in any.

Shapes: A1111's response models, which strict clients check, with SD.Next's names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.domain.catalogue.granted import is_granted
from gateway.domain.catalogue.inventory import Lora, Upscaler
from gateway.domain.catalogue.merged import Catalogue
from gateway.domain.keys import Grants

_NO_UPSCALER = "None"
_LATENT = "latent"


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
        if is_granted(model, grants)
    ]


def samplers_listed(catalogue: Catalogue, aliases: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every sampler with its aliases and options (as strings), then the other names that work: alias -> sampler."""
    own = [
        {"name": s.name, "aliases": list(s.aliases), "options": _options(s.options)}
        for s in catalogue.samplers
        if s.name  # the lists of a backend have no nameless entry, but an operator's may
    ]
    known = {entry["name"] for entry in own}
    others = [
        {"name": alias, "aliases": [sampler], "options": {}} for alias, sampler in aliases.items() if alias not in known
    ]
    return own + others


def _options(options: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value).lower() if isinstance(value, bool) else str(value) for name, value in options.items()}


def upscalers_listed(
    catalogue: Catalogue, grants: Grants, aliases: Iterable[tuple[str, Upscaler]] = ()
) -> list[dict[str, Any]]:
    """ "None", the granted upscalers, and the alias names that lead to one of them; `scale` is always a number."""
    granted = [u for u in catalogue.upscalers if u.name != _NO_UPSCALER and u.name in grants.upscalers]
    others = [(alias, upscaler) for alias, upscaler in aliases if upscaler.name in grants.upscalers]
    entries = [(_NO_UPSCALER, 1.0), *((u.name, u.scale) for u in granted), *((alias, u.scale) for alias, u in others)]
    return [
        {"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": scale}
        for name, scale in entries
    ]


def latent_modes_listed(catalogue: Catalogue, grants: Grants) -> list[dict[str, Any]]:
    """The granted upscalers that only hires can use, in A1111's form."""
    names = (u.name for u in catalogue.upscalers if u.name.lower().startswith(_LATENT))
    return [{"name": name} for name in names if name in grants.upscalers]


def loras_listed(catalogue: Catalogue, grants: Grants) -> list[dict[str, Any]]:
    """The granted LoRAs; `alias` is never empty and `path` holds a bare name."""
    return [_lora(lora) for lora in catalogue.loras if lora.name in grants.loras]


def _lora(lora: Lora) -> dict[str, Any]:
    return {"name": lora.name, "alias": lora.alias or lora.name, "path": lora.file_name or lora.name, "metadata": {}}


def names_listed(catalogue: Catalogue, kind: str, key: str = "name") -> list[dict[str, Any]]:
    """One of the plain lists (`vaes, detailers, styles, ...`) as objects with their name under `key`."""
    return [{key: name} for name in catalogue.listed(kind)]


def embeddings_listed(catalogue: Catalogue) -> dict[str, Any]:
    """The embeddings in A1111's form: objects by name (SD.Next's lists break strict clients)."""
    entry = {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None, "shape": 0, "vectors": 0}
    return {"loaded": {name: dict(entry) for name in catalogue.listed("embeddings")}, "skipped": {}}


def scripts_listed(catalogue: Catalogue, allowed: Iterable[str]) -> dict[str, list[str]]:
    """The scripts the operator allows and some backend has, lower case, by operation."""
    names = [name.lower() for name in allowed]
    return {kind: [name for name in names if catalogue.backends_with(kind, name)] for kind in ("txt2img", "img2img")}
