"""Request, stored options and key overrides, brought to one vocabulary and laid over one another.

From bottom to top: the key's `default`, its posted options, the request, its `force`. Several names for one meaning
(`sampler_index`, `scheduler`, most of `override_settings`) become one name within each layer first, so that a forced
value wins whatever name the caller used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.domain.errors import InvalidRequest
from gateway.domain.jobs import Operation
from gateway.domain.overrides import laid_over
from gateway.domain.parameters.caption_rows import CAPTION
from gateway.domain.parameters.context import Draft, ShapingContext, adjustment
from gateway.domain.parameters.generation_rows import GENERATION, ONLY_IMG2IMG
from gateway.domain.parameters.reading import coerced, typed_fields
from gateway.domain.parameters.table import Does, Kind, Table
from gateway.domain.parameters.upscale_rows import UPSCALE

SETTINGS_TO_FIELDS = {
    "sd_model_checkpoint": "sd_model_checkpoint",
    "CLIP_stop_at_last_layers": "clip_skip",
    "clip_skip": "clip_skip",
    "eta_noise_seed_delta": "eta_noise_seed_delta",
    "inpainting_mask_weight": "inpainting_mask_weight",
    "initial_noise_multiplier": "initial_noise_multiplier",
    "img2img_fix_steps": "img2img_fix_steps",
    "img2img_color_correction": "img2img_color_correction",
}
"""Settings that SD.Next takes as a field of the request (as a setting it ignores the first two or loads twice)."""

KEPT_SETTINGS = frozenset({"sd_vae"})
"""What remains of `override_settings`; everything else in it is dropped."""

_QUIET_SETTINGS = frozenset(
    {"samples_format", "sd_hypernetwork", "ddim_discretize", "comma_padding_backtrack", "forge_additional_modules"}
)
"""Settings clients send as a matter of course and SD.Next does not have."""

TABLES: Mapping[Operation, Table] = {
    Operation.TXT2IMG: {name: row for name, row in GENERATION.items() if name not in ONLY_IMG2IMG},
    Operation.IMG2IMG: GENERATION,
    Operation.UPSCALE: UPSCALE,
    Operation.CAPTION: CAPTION,
}
"""The policy of each operation."""


def layered(operation: Operation, raws: Mapping[str, msgspec.Raw], context: ShapingContext) -> Draft:
    """The draft after step 2 of shaping."""
    table, told = TABLES[operation], list[str]()
    asked = canonical(typed_fields(raws, table, told), told)
    overrides = context.overrides
    fields = {name: value for name, value in asked.items() if name not in overrides.forbid}
    below = _layer(overrides.default, table) if overrides.default else {}
    if context.options and operation.has_checkpoint:
        below = laid_over(below, _layer(_as_settings(context.options), table))
    below.pop("sd_model_checkpoint", None)  # its precedence is that of step 7
    forced = _layer(overrides.force, table) if overrides.force else {}
    fields = laid_over(below, fields) if below else fields
    fields = laid_over(fields, forced) if forced else fields
    return Draft(operation, context, dict(fields), asked, frozenset(forced), told)


def canonical(fields: Mapping[str, Any], told: list[str]) -> dict[str, Any]:
    """The fields with one name for each meaning; what cannot stay in `override_settings` is added to `told`."""
    result = dict(fields)
    index = result.pop("sampler_index", None)
    if isinstance(index, str) and index.strip() and not str(result.get("sampler_name", "")).strip():
        result["sampler_name"] = index
    if not str(result.get("sampler_name", "x")).strip():
        del result["sampler_name"]
    schedule = result.pop("scheduler", None)
    if schedule and not result.get("schedulers_sigma"):
        result["schedulers_sigma"] = schedule
    settings = result.pop("override_settings", None)
    return _promoted(result, settings, told) if settings else result


def _promoted(fields: dict[str, Any], settings: Mapping[str, Any], told: list[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in settings.items():
        field = SETTINGS_TO_FIELDS.get(name)
        if value is None:
            continue
        if field is not None:
            if (typed := coerced(GENERATION[field], value)) is not None and fields.get(field) in (None, ""):
                fields[field] = typed
        elif name in KEPT_SETTINGS and isinstance(value, str):
            kept[name] = value
        elif name not in _QUIET_SETTINGS and len(told) < _MOST_TOLD:
            told.append(adjustment(f"override_settings.{name}", "dropped"))
    if kept:
        fields["override_settings"] = kept
    return fields


_MOST_TOLD = 60


def _as_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    known = SETTINGS_TO_FIELDS.keys() | KEPT_SETTINGS
    return {"override_settings": {name: value for name, value in options.items() if name in known and value != ""}}


def _layer(values: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """A layer that is not the caller's, under the same policy; fields this endpoint does not know are left out."""
    fields: dict[str, Any] = {}
    for name, value in values.items():
        row = table.get(name)
        if row is None or row.does is Does.DROP or value is None:
            continue
        try:
            # Encoded once here: what no backend could be sent (half a surrogate pair, a giant number) ends here too.
            raw = msgspec.Raw(msgspec.json.encode(value))
            typed = raw if row.kind is Kind.RAW else coerced(row, value)
        except (InvalidRequest, ValueError, TypeError, OverflowError, msgspec.MsgspecError, RecursionError) as error:
            reason = str(error) if isinstance(error, InvalidRequest) else f"{name} is no JSON."
            raise InvalidRequest(
                f"This key's own setting cannot be used: {reason} Correct it in the key.", name
            ) from error
        if typed is not None:
            fields[name] = typed
    return canonical(fields, [])
