"""What the pool has: each backend's inventory, and the catalogue merged from them."""

from gateway.domain.catalogue.granted import is_granted
from gateway.domain.catalogue.inventory import (
    BackendInventory,
    Lora,
    ModelFile,
    Sampler,
    Scripts,
    Upscaler,
    has_weights,
    parse_loras,
    parse_models,
    parse_names,
    parse_samplers,
    parse_scripts,
    parse_upscalers,
)
from gateway.domain.catalogue.merged import Catalogue, Departed, Model, departures, merge

__all__ = [
    "BackendInventory",
    "Catalogue",
    "Departed",
    "Lora",
    "Model",
    "ModelFile",
    "Sampler",
    "Scripts",
    "Upscaler",
    "departures",
    "has_weights",
    "is_granted",
    "merge",
    "parse_loras",
    "parse_models",
    "parse_names",
    "parse_samplers",
    "parse_scripts",
    "parse_upscalers",
]
