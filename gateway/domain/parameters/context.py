"""What shaping needs to know, what it works on, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.catalogue import Catalogue, Lora, Model
from gateway.domain.jobs import Operation
from gateway.domain.keys import Grants
from gateway.domain.overrides import Overrides
from gateway.domain.plans import Caps
from gateway.domain.pricing import Price


@dataclass(frozen=True, slots=True)
class OperatorPolicy:
    """What the operator enables for everybody. All names in any case.

    `minimum` and `maximum` bound numbers by parameter name for the whole pool, over what a key's overrides say.
    `scripts` and `alwayson_scripts`: allowed name -> cost factor (1.0 is the plain cost). `model_aliases` and
    `upscaler_aliases`: a caller's word -> a name in the catalogue. `default_model` "" means there is none.
    `caption_models`: those that describe pictures, none for no such call.
    """

    default_model: str = ""
    minimum: Mapping[str, float] = field(default_factory=dict)
    maximum: Mapping[str, float] = field(default_factory=dict)
    model_aliases: Mapping[str, str] = field(default_factory=dict)
    upscaler_aliases: Mapping[str, str] = field(default_factory=dict)
    scripts: Mapping[str, float] = field(default_factory=dict)
    alwayson_scripts: Mapping[str, float] = field(default_factory=dict)
    allow_control_units: bool = False
    allow_ip_adapter: bool = False
    allow_face: bool = False
    allow_styles: bool = False
    caption_models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShapingContext:
    """Who calls and what there is. `options` are what this key posted (`sd_model_checkpoint`, `sd_vae`, ...)."""

    catalogue: Catalogue
    grants: Grants = field(default_factory=Grants)
    overrides: Overrides = field(default_factory=Overrides)
    caps: Caps = field(default_factory=Caps)
    default_model: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    operator: OperatorPolicy = field(default_factory=OperatorPolicy)


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a backend must have to run the job: (kind, name) pairs of the catalogue, and the LoRAs named in tags."""

    things: frozenset[tuple[str, str]] = frozenset()
    loras: tuple[Lora, ...] = ()


@dataclass(frozen=True, slots=True)
class Shaped:
    """A request as the gateway will really send it.

    `fields`: the effective parameters in the pool's spelling, images as raw JSON. `model` is None for an upscale.
    `runnable_on`: the backends that have all it needs now, up or down, at least one. `expected` is the pixel size of
    each picture, `worked` that of the first pass; None when it is not known.
    `sampler` is "Default" or the resolved name. `adjustments` are ready for `X-Gateway-Adjusted`.
    """

    operation: Operation
    fields: Mapping[str, Any]
    model: Model | None
    runnable_on: frozenset[str]
    price: Price
    expected: tuple[int, int] | None
    worked: tuple[int, int] | None = None
    sampler: str = ""
    requirements: Requirements = Requirements()
    adjustments: tuple[str, ...] = ()
    task_id: str = ""

    @property
    def images_asked(self) -> int:
        """How many pictures the caller asked for: as many seeds come back."""
        return self.price.images

    @property
    def uses_lora(self) -> bool:
        """Whether a prompt has a LoRA tag."""
        return bool(self.requirements.loras)


@dataclass(slots=True)
class Draft:
    """A request on its way through the stages, owned by one call.

    `asked`: what the caller sent, in the vocabulary of `fields`; `forced`: the names a key's override has set.
    """

    operation: Operation
    context: ShapingContext
    fields: dict[str, Any]
    asked: Mapping[str, Any]
    forced: frozenset[str] = frozenset()
    told: list[str] = field(default_factory=list)
    things: set[tuple[str, str]] = field(default_factory=set)
    loras: dict[str, Lora] = field(default_factory=dict)
    model: Model | None = None
    input_bytes: int = 0
    factor: float = 1.0
    init_size: tuple[int, int] | None = None
    clamped: dict[str, Any] = field(default_factory=dict)

    def tell(self, name: str, why: str, value: object = None) -> None:
        """Note an adjustment: `steps=25 (forced)`, or `save_images (dropped)` without a value."""
        self.told.append(adjustment(name, why, value))

    def tell_change(self, name: str, why: str, value: object) -> None:
        """Note a resolved or clamped value, unless the key forced it: then only the outcome is told, once."""
        if name not in self.forced:
            self.tell(name, why, value)

    def tell_loss(self, field: str, name: str, why: str = "dropped") -> None:
        """Note that something in `field` was dropped, if it was the caller who had sent it."""
        if field in self.asked and field not in self.forced:
            self.tell(name, why)

    def clamp(self, name: str, value: float) -> None:
        """Set a bounded value; at the end each field is told once, with the value it had before the first bound."""
        before = self.fields[name]
        if value != before:
            self.clamped.setdefault(name, before)
            self.fields[name] = value

    def tell_clamped(self) -> None:
        """Note every field that ended at another value than it had before it was bounded, unless it was asked for."""
        for name, before in self.clamped.items():
            if name in self.fields and self.fields[name] not in (before, self.asked.get(name)):
                self.tell_change(name, f"clamped from {_plain(before)}", self.fields[name])


_TOLD_CHARACTERS = 80


def adjustment(name: str, why: str, value: object = None) -> str:
    """One entry of `X-Gateway-Adjusted`, safe in a header: printable ASCII, no comma, bounded."""
    shown = _safe(name) if value is None else f"{_safe(name)}={_safe(_plain(value))}"
    return f"{shown} ({_safe(why)})"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _safe(text: str) -> str:
    short = text if len(text) <= _TOLD_CHARACTERS else text[: _TOLD_CHARACTERS - 3] + "..."
    return "".join(c if " " <= c <= "~" and c != "," else "?" if c != "," else ";" for c in short)
