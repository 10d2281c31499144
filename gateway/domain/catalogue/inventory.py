"""What one backend has, read from its own lists. Tolerant: an odd entry is left out, nothing here raises.

Shapes of the lists: SD.Next and A1111, observed. No server path is kept, only the last part of one.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.catalogue.names import NameIndex, file_name_of, folded, without_hash, without_suffix

_ROOT_FOLDER = "Diffusers/"
_FACTOR = re.compile(
    r"(?<![0-9A-Za-z])(?:(\d{1,2})x|x(\d{1,2}))(?![0-9A-Za-z])|(?<=_)(\d{1,2})x|(\d{1,2})x(?=_)", re.IGNORECASE
)
_LOCAL = re.compile(r"/|\\|[a-zA-Z]:[\\/]")
_LORA_NAMES = 3
_DEFAULT_FACTOR, _LARGEST_FACTOR = 4.0, 64.0
_LIBRARY_PREFIXES = ("none", "resize", "latent", "nearest", "lanczos", "vips", "dcc", "icb", "asymmetric", "wan")

SCHEDULE_OPTIONS: tuple[tuple[str, str], ...] = (
    ("karras", "use_karras_sigmas"),
    ("betas", "use_beta_sigmas"),
    ("exponential", "use_exponential_sigmas"),
    ("lambdas", "use_lu_lambdas"),
    ("flowmatch", "use_flow_sigmas"),
)
"""What `schedulers_sigma` may say, and the option that shows whether a sampler can do it (SD.Next, observed)."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelFile:
    """A checkpoint as one backend has it. `name` is ours; `title` is the only text ever sent to that backend.

    `base_name` is what the backend writes as `Model:` into an infotext; `hash` and `sha256` are "" while unknown;
    `scheduler` is the class of the checkpoint's own scheduler, "" while unknown.
    """

    name: str
    title: str
    model_name: str
    file_name: str
    base_name: str
    kind: str = ""
    hash: str = ""
    sha256: str = ""
    scheduler: str = ""


@dataclass(frozen=True, slots=True)
class Sampler:
    """A sampler and the schedules it can do (`karras`, ...); `options` and `aliases` as the backend lists them."""

    name: str
    schedules: frozenset[str] = frozenset()
    aliases: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Upscaler:
    """An upscaler. `scale` is the factor it was made for; `is_network` is False for plain resampling.

    `has_weights`: whether the file it needs is on the server's disk, None where the server does not say.
    """

    name: str
    scale: float = 1.0
    is_network: bool = False
    has_weights: bool | None = None

    @property
    def is_missing(self) -> bool:
        """Whether its first use would be a download, which fails on a server without a way out."""
        return self.has_weights is False


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA; `file_name` without folder and extension, "" when the backend does not say."""

    name: str
    alias: str = ""
    file_name: str = ""


@dataclass(frozen=True, slots=True)
class Scripts:
    """Names of the scripts a backend has, by operation, in its own spelling."""

    txt2img: frozenset[str] = frozenset()
    img2img: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class BackendInventory:
    """All that one backend has. `lora_is_safe`: the backend does not fuse LoRAs into the checkpoint it shares.

    `options`: what it reports of its settings, as far as callers may see it.
    """

    name: str
    models: tuple[ModelFile, ...] = ()
    samplers: tuple[Sampler, ...] = ()
    upscalers: tuple[Upscaler, ...] = ()
    loras: tuple[Lora, ...] = ()
    vaes: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()
    detailers: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    control_models: tuple[str, ...] = ()
    preprocessors: tuple[str, ...] = ()
    ip_adapters: tuple[str, ...] = ()
    scripts: Scripts = Scripts()
    lora_is_safe: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    _models_by_name: Mapping[str, tuple[ModelFile, ...]] = field(init=False, repr=False)
    _own_spelling: Mapping[tuple[str, str], str] = field(init=False, repr=False)
    _samplers_by_name: Mapping[str, Sampler] = field(init=False, repr=False)
    _loras_by_name: Mapping[str, Lora] = field(init=False, repr=False)
    _base_names: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        models: defaultdict[str, list[ModelFile]] = defaultdict(list)
        for model in self.models:
            models[model.name].append(model)
        object.__setattr__(self, "_models_by_name", {name: tuple(files) for name, files in models.items()})
        object.__setattr__(self, "_own_spelling", _spellings(self))
        object.__setattr__(self, "_samplers_by_name", {folded(s.name): s for s in self.samplers})
        loras: dict[str, Lora] = {}
        for position in range(_LORA_NAMES):  # a full name of any LoRA counts before the short name of another one
            for lora in self.loras:
                loras.setdefault(lora_names(lora)[min(position, len(lora_names(lora)) - 1)], lora)
        object.__setattr__(self, "_loras_by_name", loras)
        object.__setattr__(self, "_base_names", Counter(model.base_name for model in self.models))

    def model(self, name: str, sha256: str = "") -> ModelFile | None:
        """This backend's file of that name; with a known `sha256` only one that has it or does not know its own."""
        files = self._models_by_name.get(name, ())
        exact = [f for f in files if f.sha256 == sha256] if sha256 else list(files)
        return next(iter(exact or [f for f in files if not f.sha256]), None)

    def sampler(self, name: str) -> Sampler | None:
        """The sampler of that name in any case."""
        return self._samplers_by_name.get(folded(name))

    def spelling(self, kind: str, name: str) -> str | None:
        """This backend's exact spelling of a name of `samplers, upscalers, vaes, ...`; None when it has none."""
        return self._own_spelling.get((kind, folded(name)))

    def lora(self, lora: Lora) -> Lora | None:
        """This backend's entry for a LoRA known to the pool, under whatever folder."""
        names = (self._loras_by_name.get(name) for name in lora_names(lora))
        return next((found for found in names if found is not None), None)

    def shares_base_name(self, model: ModelFile) -> bool:
        """Whether an infotext of this backend cannot tell that model from another one."""
        return self._base_names.get(model.base_name, 0) > 1


NAMED_KINDS = ("vaes", "detailers", "styles", "control_models", "preprocessors", "ip_adapters")
"""The lists of plain names in an inventory that a request may name an entry of."""


def _spellings(inventory: BackendInventory) -> dict[tuple[str, str], str]:
    names = {("upscalers", folded(u.name)): u.name for u in inventory.upscalers}
    names.update({("samplers", folded(s.name)): s.name for s in inventory.samplers})
    for kind in NAMED_KINDS:
        names.update({(kind, folded(name)): name for name in getattr(inventory, kind)})
    for kind in ("txt2img", "img2img"):
        names.update({(kind, folded(name)): name for name in getattr(inventory.scripts, kind)})
    return names


def lora_names(lora: Lora) -> tuple[str, ...]:
    """The names by which two backends' entries are the same LoRA: full name, file name, last part; folded."""
    names = (folded(lora.name), folded(lora.file_name), folded(file_name_of(lora.name)))
    return tuple(dict.fromkeys(name for name in names if name))


def lora_index(loras: Iterable[Lora]) -> NameIndex[Lora]:
    """Finds LoRAs by name, file name, alias, then by the last part of the name."""
    known = tuple(loras)
    return NameIndex.build(
        (
            ((lora.name, lora) for lora in known),
            ((lora.file_name, lora) for lora in known),
            ((lora.alias, lora) for lora in known),
            ((file_name_of(lora.name), lora) for lora in known),
        )
    )


def parse_models(entries: object) -> tuple[ModelFile, ...]:
    """The checkpoints in an answer to `GET /sdapi/v1/sd-models`."""
    files = [file for entry in _objects(entries) if (file := _model(entry)) is not None]
    return _distinct(files)


def _model(entry: Mapping[str, Any]) -> ModelFile | None:
    title = _text(entry, "title") or _text(entry, "model_name")
    if not title:
        return None
    model_name = _text(entry, "model_name") or without_hash(title)
    # A1111's `model_name` has lost its folder; its title has not. SD.Next's two agree (observed).
    full = without_hash(title) or model_name
    name = without_suffix(full.replace("\\", "/"))
    name = name.removeprefix(_ROOT_FOLDER) or name
    path = _text(entry, "filename")
    file_name = file_name_of(path)
    return ModelFile(
        name=name,
        title=title,
        model_name=model_name,
        file_name=file_name if file_name != without_suffix(file_name) else file_name_of(full),
        base_name=file_name_of(name),
        kind=_text(entry, "type"),
        hash=_text(entry, "hash").lower(),
        sha256=_text(entry, "sha256").lower(),
    )


def _distinct(files: list[ModelFile]) -> tuple[ModelFile, ...]:
    """Files of one backend that would share our name and cannot be told by sha256 keep more of their own name."""
    seen: set[tuple[str, str]] = set()
    kept: list[ModelFile] = []
    for file in sorted(files, key=lambda f: f.title):
        renamed = file if (file.name, file.sha256) not in seen else _with_own_name(file)
        if (renamed.name, renamed.sha256) not in seen:
            seen.add((renamed.name, renamed.sha256))
            kept.append(renamed)
    return tuple(kept)


def _with_own_name(file: ModelFile) -> ModelFile:
    name = without_hash(file.title).replace("\\", "/")
    if name == file.name:
        name = file.title
    return ModelFile(
        name,
        file.title,
        file.model_name,
        file.file_name,
        file.base_name,
        file.kind,
        file.hash,
        file.sha256,
        file.scheduler,
    )


def parse_samplers(entries: object) -> tuple[Sampler, ...]:
    """The samplers in an answer to `GET /sdapi/v1/samplers`, separators left out."""
    return tuple(_sampler(entry) for entry in _objects(entries) if _text(entry, "name").strip("─ "))


def _sampler(entry: Mapping[str, Any]) -> Sampler:
    raw = entry.get("options")
    options = raw if isinstance(raw, Mapping) else {}
    aliases = entry.get("aliases")
    return Sampler(
        name=_text(entry, "name"),
        schedules=frozenset(schedule for schedule, option in SCHEDULE_OPTIONS if option in options),
        aliases=tuple(a for a in aliases if isinstance(a, str)) if isinstance(aliases, list) else (),
        options=options,
    )


def parse_upscalers(entries: object) -> tuple[Upscaler, ...]:
    """The upscalers in an answer to `GET /sdapi/v1/upscalers`. SD.Next says scale 4.0 of all: the name knows better."""
    return tuple(
        Upscaler(name, _factor(name, entry.get("scale")), not _is_library(name), has_weights(entry))
        for entry in _objects(entries)
        if (name := _text(entry, "name"))
    )


def has_weights(entry: Mapping[str, Any]) -> bool | None:
    """Whether the weights of an entry of `GET /sdapi/v1/upscalers` are on disk; None where it does not say.

    `model_path` is a local path where they are, a URL or a hub's name where they are not (observed). What was read
    once stands under `has_weights`: the path of a server is not kept.
    """
    known = entry.get("has_weights")
    if isinstance(known, bool):
        return known
    path = _text(entry, "model_path")
    return bool(_LOCAL.match(path)) if path else None


def _is_library(name: str) -> bool:
    low = name.lower()
    return low.startswith(_LIBRARY_PREFIXES) or "interpolation" in low


def _factor(name: str, reported: object) -> float:
    if _is_library(name):
        return 1.0
    match = _FACTOR.search(name)
    if match is not None:
        return float(next(g for g in match.groups() if g))
    if isinstance(reported, int | float) and 0 < reported <= _LARGEST_FACTOR:
        return float(reported)
    return _DEFAULT_FACTOR


def parse_loras(entries: object) -> tuple[Lora, ...]:
    """The LoRAs in an answer to `GET /sdapi/v1/loras` (`path`) or `/extra-networks` (`filename`)."""
    return tuple(
        Lora(
            name, _text(entry, "alias"), without_suffix(file_name_of(_text(entry, "path") or _text(entry, "filename")))
        )
        for entry in _objects(entries)
        if (name := _text(entry, "name"))
    )


def parse_names(entries: object) -> tuple[str, ...]:
    """The names in a list of strings or of objects with `name` or `model_name` (VAEs, detailers, styles, ...)."""
    if isinstance(entries, Mapping):
        entries = entries.get("loaded", entries.get("model_list", ()))  # embeddings; controlnet models
    if isinstance(entries, Mapping):
        entries = list(entries)
    if not isinstance(entries, list | tuple):
        return ()
    return tuple(name for entry in entries if (name := _name(entry)))


def _name(entry: object) -> str:
    if isinstance(entry, str):
        return entry
    return (_text(entry, "name") or _text(entry, "model_name")) if isinstance(entry, Mapping) else ""


def parse_scripts(entries: object) -> Scripts:
    """The script names in an answer to `GET /sdapi/v1/scripts`."""
    if not isinstance(entries, Mapping):
        return Scripts()
    return Scripts(frozenset(parse_names(entries.get("txt2img"))), frozenset(parse_names(entries.get("img2img"))))


def _objects(entries: object) -> Iterable[Mapping[str, Any]]:
    return (entry for entry in entries if isinstance(entry, Mapping)) if isinstance(entries, list | tuple) else ()


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) else ""
