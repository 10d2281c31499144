"""What one key sees of the server: its options. Nothing here reaches a backend, and nothing of another tenant
is in it.
"""

from __future__ import annotations

from typing import Any

from gateway.domain.catalogue import Catalogue, Model, is_granted
from gateway.domain.errors import Forbidden
from gateway.domain.keys import Caller

# What clients probe for, with the values of a server that nobody has configured (A1111's names).
FIXED_OPTIONS: dict[str, Any] = {
    "sd_vae": "Automatic",
    "samples_format": "png",
    "CLIP_stop_at_last_layers": 1,
    "clip_skip": 1,
    "send_seed": True,
    "inpainting_mask_weight": 1.0,
    "img2img_fix_steps": False,
    "eta_noise_seed_delta": 0,
    "face_restoration_model": "",
}


def granted_models(caller: Caller, catalogue: Catalogue) -> tuple[Model, ...]:
    """The checkpoints of the pool that this key may use, in the catalogue's order."""
    return tuple(model for model in catalogue.models if is_granted(model, caller.grants))


def require_a_model(caller: Caller, catalogue: Catalogue) -> tuple[Model, ...]:
    """The granted checkpoints. Raises Forbidden if there is none: such a key can generate nothing."""
    models = granted_models(caller, catalogue)
    if not models:
        raise Forbidden("This key may not use any image model. Ask the operator to grant one.")
    return models


def options_of(caller: Caller, catalogue: Catalogue, pool_default: str) -> dict[str, Any]:
    """The options as this key sees them; `sd_model_checkpoint` is what a call that names no model would use, or ""."""
    models = require_a_model(caller, catalogue)
    names = {model.name: model for model in models}
    wanted = caller.default_model or pool_default
    chosen = names.get(wanted) or (models[0] if len(models) == 1 else None)
    return {
        "sd_model_checkpoint": chosen.name if chosen else "",
        "sd_checkpoint_hash": chosen.sha256 if chosen else "",
        **FIXED_OPTIONS,
    }
