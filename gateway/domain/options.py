"""A key's virtual options: what a key sees as the server's settings, and what becomes of what it posts.

Nothing here reaches a backend's own settings. What a key posts is the key's: a few options shape its later jobs, the
generation-related others and harmless unknown ones are remembered and shown, and the rest is ignored in silence,
because clients post the whole object that they were shown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gateway.domain.errors import InvalidRequest
from gateway.domain.parameters.generation_rows import GENERATION
from gateway.domain.parameters.layers import SETTINGS_TO_FIELDS
from gateway.domain.parameters.reading import coerced

MODEL = "sd_model_checkpoint"
VAE = "sd_vae"
AUTOMATIC_VAES = frozenset({"", "automatic", "auto"})

PROBED: dict[str, Any] = {
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
"""What clients probe for, with the values of a server that nobody has configured (A1111's names)."""

TUNABLE: dict[str, Any] = {
    "img2img_color_correction": False,
    "img2img_background_color": "#ffffff",
    "initial_noise_multiplier": 1.0,
    "color_correction_method": "histogram",
    "mask_apply_overlay": True,
    "include_mask": False,
    "sequential_seed": True,
    "prompt_attention": "native",
    "prompt_mean_norm": False,
    "diffusers_zeros_prompt_pad": False,
    "te_pooled_embeds": False,
    "te_use_mask": True,
    "lora_apply_tags": 0,
    "lora_apply_te": False,
    "extra_networks_default_multiplier": 1.0,
    "detailer_augment": False,
    "freeu_enabled": False,
    "freeu_b1": 1.2,
    "freeu_b2": 1.4,
    "freeu_s1": 0.9,
    "freeu_s2": 0.2,
    "hypertile_unet_enabled": False,
    "hypertile_vae_enabled": False,
    "token_merging_method": "None",
    "tome_ratio": 0.0,
    "todo_ratio": 0.0,
    "teacache_enabled": False,
    "teacache_thresh": 0.15,
    "show_progress_every_n_steps": 1,
    "live_previews_enable": True,
    "s_churn": 0.0,
    "s_noise": 1.0,
    "s_tmin": 0.0,
    "s_tmax": 0.0,
    "eta_ancestral": 1.0,
    "eta_ddim": 0.0,
    "upscaler_for_img2img": "",
}
"""Further options of a generation with SD.Next's defaults (its options, observed): shown, and kept when posted.

A server lists those that differ from their default: where one does, its value is shown.
"""

SHOWN = PROBED | TUNABLE

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_SENSITIVE = re.compile(
    r"path|dir|file|folder|token|(^|_)key|secret|passw|auth|cmd|url|proxy|project|location_id|host|port(_|$)|forge_preset"
    r"|log|script|extension|mirror|hash|user|email|webhook",
    re.IGNORECASE,
)
_PLACE = re.compile(r"://|^\s*(?:[/\\~]|[A-Za-z]:[/\\])|\.\./")
_MOST_CHARACTERS = 1000
_LARGEST_WHOLE = 2**53


@dataclass(frozen=True, slots=True)
class Posted:
    """What becomes of posted options. `model` and `vae` are the words posted for them, "" where none was.

    `kept` are options known here, `remembered` harmless unknown ones; `forgotten` are those put back to what a server
    has that nobody configured; `ignored` get the answer `false`.
    """

    kept: Mapping[str, Any] = field(default_factory=dict)
    remembered: Mapping[str, Any] = field(default_factory=dict)
    forgotten: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()
    model: str = ""
    vae: str = ""


def reported(options: object) -> dict[str, Any]:
    """Of what a server says of its options, those that may be shown: by name, in their type, no place, no secret."""
    if not isinstance(options, Mapping):
        return {}
    said = {name: options[name] for name in TUNABLE if name in options and _is_harmless(name, options[name])}
    typed = {name: _typed(name, value) for name, value in said.items()}
    return {name: value for name, value in typed.items() if value is not None}


def sorted_out(posted: Mapping[str, Any], of_the_pool: Mapping[str, Any] = MappingProxyType({})) -> Posted:
    """Which of the posted options are kept, remembered, forgotten or ignored. Never raises.

    `of_the_pool` are those that its servers report: posting what is shown anyway keeps nothing.
    """
    base = {**SHOWN, **of_the_pool}
    words = {name: posted[name].strip() for name in (MODEL, VAE) if isinstance(posted.get(name), str)}
    forgets_vae = words.get(VAE, "x").lower() in AUTOMATIC_VAES
    others = {name: value for name, value in posted.items() if name not in (MODEL, VAE)}
    harmless = {name: value for name, value in others.items() if _is_harmless(name, value)}
    known = {name: value for name, value in harmless.items() if name in SHOWN}
    forgotten = {name for name, value in known.items() if value == base[name]}
    typed = {name: _typed(name, value) for name, value in known.items() if name not in forgotten}
    ignored = others.keys() - harmless.keys() | {name for name, value in typed.items() if value is None}
    ignored |= {name for name in (MODEL, VAE) if name in posted and not words.get(name)}
    if forgets_vae:
        forgotten.add(VAE)
        ignored.discard(VAE)
    return Posted(
        kept={name: value for name, value in typed.items() if value is not None},
        remembered={name: value for name, value in harmless.items() if name not in SHOWN},
        forgotten=frozenset(forgotten),
        ignored=frozenset(ignored),
        model=words.get(MODEL, ""),
        vae="" if forgets_vae else words.get(VAE, ""),
    )


def _is_harmless(name: str, value: object) -> bool:
    """Whether it may be kept and shown to this key again: a scalar under a name that stands for no secret or place."""
    if not _NAME.fullmatch(name) or (name not in SHOWN and _SENSITIVE.search(name)):
        return False
    if isinstance(value, str):
        return len(value) <= _MOST_CHARACTERS and value.isprintable() and not _PLACE.search(value)
    if isinstance(value, bool):
        return True
    if isinstance(value, int):
        return abs(value) <= _LARGEST_WHOLE
    return isinstance(value, float) and math.isfinite(value)


def _typed(name: str, value: Any) -> Any:  # noqa: ANN401 - JSON
    """The value in the type in which the option is shown, and within the bounds of the field it stands for, if any."""
    shown = SHOWN[name]
    if isinstance(shown, bool) or isinstance(value, bool) or isinstance(shown, str) or isinstance(value, str):
        if type(shown) is not type(value):
            return None
    elif isinstance(shown, int) and value != int(value):
        return None
    row = GENERATION.get(SETTINGS_TO_FIELDS.get(name, ""))
    if row is None:
        return value
    try:
        return coerced(row, value)
    except InvalidRequest:
        return None


def effective(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The stored options that shape a job: only those that a request could name too."""
    known = SETTINGS_TO_FIELDS.keys() | {VAE}
    return {name: value for name, value in stored.items() if name in known}


def shown(stored: Mapping[str, Any], of_the_pool: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """What `GET /options` shows beside the model; `samples_format` is always the one that pictures come in."""
    own = {name: value for name, value in stored.items() if name != MODEL}
    return {**SHOWN, **of_the_pool, **own, "samples_format": "png"}
