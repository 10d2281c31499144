"""The request as one backend gets it: its own exact names, pictures spliced in as the raw JSON they came in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.domain.catalogue.inventory import BackendInventory
from gateway.domain.errors import BackendLacks
from gateway.domain.jobs import Operation
from gateway.domain.parameters.context import Shaped
from gateway.domain.parameters.generation import OWN_VAE
from gateway.domain.parameters.generation_rows import PROMPTS
from gateway.domain.samplers import DEFAULT
from gateway.domain.tags import respelled
from gateway.domain.upscalers import NONE

_ALWAYS: Mapping[Operation, Mapping[str, Any]] = {
    Operation.TXT2IMG: {"send_images": True, "save_images": False, "override_settings_restore_afterwards": True},
    Operation.IMG2IMG: {"send_images": True, "save_images": False, "override_settings_restore_afterwards": True},
    Operation.UPSCALE: {"show_extras_results": False},
    Operation.CAPTION: {},
}
"""What every request says: pictures come back, none is saved, no setting stays."""

_SPLICED = ("init_images", "mask", "image")
_SPELLED = (
    ("sampler_name", "samplers"),
    ("hr_sampler_name", "samplers"),
    ("hr_upscaler", "upscalers"),
    ("resize_name", "upscalers"),
    ("upscaler_1", "upscalers"),
    ("upscaler_2", "upscalers"),
)
_NEEDS_NOTHING = (DEFAULT, NONE)
_NEVER_SENT = frozenset({*_SPLICED, "scheduler"})
_ENCODER = msgspec.json.Encoder()


def render(shaped: Shaped, backend: BackendInventory) -> bytes:
    """The JSON body for exactly this backend. Error: `BackendLacks` when it no longer has something named in it."""
    fields = {name: value for name, value in shaped.fields.items() if name not in _NEVER_SENT}
    fields.update(_ALWAYS[shaped.operation])
    if shaped.model is not None:
        fields["sd_model_checkpoint"] = title_on(shaped, backend)
    _spell_names(fields, backend)
    if shaped.requirements.loras:
        _spell_loras(fields, shaped, backend)
    return _spliced(_ENCODER.encode(fields), shaped.fields)


def title_on(shaped: Shaped, backend: BackendInventory) -> str:
    """The backend's own exact title of the resolved checkpoint. Error: `BackendLacks`."""
    if shaped.model is None:
        return ""
    file = backend.model(shaped.model.plain_name, shaped.model.sha256)
    if file is None:
        raise BackendLacks(backend.name, "model", shaped.model.name)
    return file.title


def parameters_echo(shaped: Shaped) -> dict[str, Any]:
    """The effective request as the caller may see it: no pictures, nothing that only a backend needs to know."""
    return {name: _without_pictures(value) for name, value in shaped.fields.items() if name not in _SPLICED}


def _without_pictures(value: Any) -> Any:  # noqa: ANN401 - JSON of any type
    if isinstance(value, dict):
        return {name: _without_pictures(v) for name, v in value.items() if not isinstance(v, msgspec.Raw)}
    if isinstance(value, list):
        return [_without_pictures(v) for v in value if not isinstance(v, msgspec.Raw)]
    return value


def _spell_names(fields: dict[str, Any], backend: BackendInventory) -> None:
    for name, kind in _SPELLED:
        if fields.get(name, NONE) not in _NEEDS_NOTHING:
            fields[name] = _spelled(backend, kind, fields[name])
    settings = fields.get("override_settings")
    if settings and settings["sd_vae"] == OWN_VAE:
        del fields["override_settings"]
    elif settings and settings["sd_vae"] not in _NEEDS_NOTHING:
        fields["override_settings"] = {"sd_vae": _spelled(backend, "vaes", settings["sd_vae"])}
    for name, kind in (("detailer_models", "detailers"), ("styles", "styles")):
        if name in fields:
            fields[name] = [_spelled(backend, kind, each) for each in fields[name]]


def _spelled(backend: BackendInventory, kind: str, name: str) -> str:
    own = backend.spelling(kind, name)
    if own is None:
        raise BackendLacks(backend.name, kind, name)
    return own


def _spell_loras(fields: dict[str, Any], shaped: Shaped, backend: BackendInventory) -> None:
    names = {}
    for lora in shaped.requirements.loras:
        own = backend.lora(lora)
        if own is None:
            raise BackendLacks(backend.name, "LoRA", lora.name)
        names[lora.name] = own.name
    if all(own == name for name, own in names.items()):
        return
    for field in PROMPTS:
        if "<" in fields.get(field, ""):
            fields[field] = respelled(fields[field], names)


def _spliced(body: bytes, fields: Mapping[str, Any]) -> bytes:
    """The encoded small fields with the pictures behind them, joined once."""
    parts: list[Any] = [body[:-1]]
    for name in _SPLICED:
        value = fields.get(name)
        if isinstance(value, list):
            parts.append(b',"' + name.encode() + b'":[')
            for number, raw in enumerate(value):
                parts.extend((b",", raw) if number else (raw,))
            parts.append(b"]")
        elif value is not None:
            parts.extend((b',"' + name.encode() + b'":', value))
    return b"".join((*parts, b"}")) if len(parts) > 1 else body
