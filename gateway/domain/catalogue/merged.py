"""What the whole pool has: one entry for each thing, with the backends that have it.

Identity of a checkpoint: the name without extension, root folder and hash. The same name on two backends is one entry,
unless their known sha256 differ: then the one most backends have keeps `name`, the others become `name [hash]`.
A checkpoint stays for 24 hours after a backend that is still in the pool lost it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.catalogue.inventory import (
    NAMED_KINDS,
    BackendInventory,
    Lora,
    ModelFile,
    Sampler,
    Upscaler,
    lora_index,
    lora_names,
)
from gateway.domain.catalogue.names import NameIndex, folded

REMEMBERED_S = 24 * 3600.0
"""How long a checkpoint stays listed after a backend lost it, in seconds."""

EMBEDDINGS = "embeddings"
"""The kind of the embeddings: they are named by a mere word in a prompt."""

SAFE_LORA = "safe_lora"
"""The kind under which `Catalogue.having` lists the backends that may get a job with a LoRA tag (name "")."""

_SHORT_HASH = 10


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A checkpoint of the pool. `on`: backend name -> that backend's file; `lost_by`: backends that had it of late."""

    name: str
    on: Mapping[str, ModelFile]
    lost_by: frozenset[str] = frozenset()
    hash: str = ""
    sha256: str = ""
    kind: str = ""
    file_name: str = ""
    base_name: str = ""
    scheduler: str = ""
    plain_name: str = ""  # the name without the hash that tells it from a namesake
    backends: frozenset[str] = frozenset()  # the keys of `on`


@dataclass(frozen=True, slots=True)
class Departed:
    """A checkpoint that a backend no longer lists. `last_seen` is in seconds on the scale of `now`."""

    backend: str
    model: ModelFile
    last_seen: float


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """The merged lists, ready for look-ups. Built by `merge`; an empty one knows nothing and no backend."""

    backends: Mapping[str, BackendInventory] = field(default_factory=dict)
    models: tuple[Model, ...] = ()
    samplers: tuple[Sampler, ...] = ()
    upscalers: tuple[Upscaler, ...] = ()
    loras: tuple[Lora, ...] = ()
    model_index: NameIndex[Model] = field(default_factory=NameIndex, repr=False)
    sampler_index: Mapping[str, Sampler] = field(default_factory=dict, repr=False)
    upscaler_index: NameIndex[Upscaler] = field(default_factory=NameIndex, repr=False)
    lora_index: NameIndex[Lora] = field(default_factory=NameIndex, repr=False)
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    having: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)

    def backends_with(self, kind: str, name: str) -> frozenset[str]:
        """The backends that have a thing: kinds are those of `having_of`, names in any case."""
        return self.having.get((kind, folded(name)), frozenset())

    def backends_with_lora(self, lora: Lora) -> frozenset[str]:
        """The backends that have it, under whatever folder."""
        return frozenset().union(*(self.having.get(("loras", name), frozenset()) for name in lora_names(lora)))

    def listed(self, kind: str) -> tuple[str, ...]:
        """The names of one of the plain lists: `vaes, embeddings, detailers, styles, ...`."""
        return tuple(self.names.get(kind, {}).values())

    def spelling(self, kind: str, name: str) -> str | None:
        """The pool's spelling of a name in one of the plain lists, in any case; None when no backend has it."""
        return self.names.get(kind, {}).get(folded(name))


def merge(inventories: Iterable[BackendInventory], departed: Iterable[Departed] = (), now: float = 0.0) -> Catalogue:
    """The catalogue of these backends. `departed` entries of other backends, or older than 24 h, are forgotten."""
    backends = {inventory.name: inventory for inventory in inventories}
    lost = [d for d in departed if d.backend in backends and now - d.last_seen <= REMEMBERED_S]
    models = _merged_models(backends.values(), lost)
    samplers = _merged_samplers(backends.values())
    upscalers = _merged_upscalers(backends.values())
    loras = _first_of_each(lora for b in backends.values() for lora in b.loras)
    return Catalogue(
        backends=backends,
        models=models,
        samplers=samplers,
        upscalers=upscalers,
        loras=loras,
        model_index=_model_index(models),
        sampler_index={folded(s.name): s for s in samplers},
        upscaler_index=NameIndex.build((((u.name, u) for u in upscalers),)),
        lora_index=lora_index(loras),
        names={kind: _merged_names(backends.values(), kind) for kind in (*NAMED_KINDS, EMBEDDINGS)},
        having=_having(backends.values()),
        options=_merged_options(backends),
    )


def _merged_options(backends: Mapping[str, BackendInventory]) -> dict[str, Any]:
    """Each reported option once; where servers differ, as the first of them by name has it."""
    merged: dict[str, Any] = {}
    for backend in sorted(backends, reverse=True):
        merged |= backends[backend].options
    return merged


def departures(before: BackendInventory, after: BackendInventory, now: float) -> tuple[Departed, ...]:
    """What a backend listed `before` and no longer lists; `now` becomes the time each was last seen."""
    present: dict[str, set[str]] = {}
    for file in after.models:
        present.setdefault(file.name, set()).add(file.sha256)
    gone = (f for f in before.models if not _may_be_among(f.sha256, present.get(f.name, set())))
    return tuple(Departed(before.name, file, now) for file in gone)


def _may_be_among(sha256: str, known: set[str]) -> bool:
    """Whether a file of that hash may be one of those; an unknown hash ("") may be any."""
    return bool(known) and (not sha256 or sha256 in known or "" in known)


def _merged_models(inventories: Iterable[BackendInventory], lost: Iterable[Departed]) -> tuple[Model, ...]:
    # A million (model, backend) pairs are merged in this loop: it does one dictionary write for each.
    groups: defaultdict[str, dict[str, ModelFile]] = defaultdict(dict)
    twins: list[tuple[str, ModelFile]] = []
    for inventory in inventories:
        backend = inventory.name
        for file in inventory.models:
            on = groups[file.name]
            if backend in on:
                twins.append((backend, file))
            else:
                on[backend] = file
    more: defaultdict[str, list[tuple[str, ModelFile]]] = defaultdict(list)
    for backend, file in twins:
        more[file.name].append((backend, file))
    gone: defaultdict[str, list[Departed]] = defaultdict(list)
    for departed in lost:
        gone[departed.model.name].append(departed)
        groups[departed.model.name]  # makes the entry exist although no backend has it now
    models = [
        model for name, on in groups.items() for model in _variants(name, on, more.get(name, []), gone.get(name, []))
    ]
    return tuple(sorted(models, key=lambda m: folded(m.name)))


def _variants(
    name: str, on: dict[str, ModelFile], twins: list[tuple[str, ModelFile]], gone: list[Departed]
) -> list[Model]:
    counts = Counter(file.sha256 for file in on.values())
    known = {*counts, *(file.sha256 for _, file in twins), *(d.model.sha256 for d in gone)} - {""}
    if len(known) <= 1:
        return [_entry(name, name, on, gone)]
    main = min(known, key=lambda sha: (-counts[sha], sha))
    owned: defaultdict[str, dict[str, ModelFile]] = defaultdict(dict)
    for backend, file in (*on.items(), *twins):
        owned[file.sha256 or main][backend] = file
    left: defaultdict[str, list[Departed]] = defaultdict(list)
    for departed in gone:
        left[departed.model.sha256 or main].append(departed)
    return [
        _entry(name if sha == main else f"{name} [{sha[:_SHORT_HASH]}]", name, owned[sha], left[sha])
        for sha in sorted(known)
    ]


def _entry(name: str, plain_name: str, on: dict[str, ModelFile], gone: list[Departed]) -> Model:
    files = [*on.values(), *(d.model for d in gone)]
    best = next((f for f in files if f.sha256), files[0])
    return Model(
        name=name,
        on=on,
        lost_by=frozenset(d.backend for d in gone) - on.keys(),
        hash=best.hash or next((f.hash for f in files if f.hash), ""),
        sha256=best.sha256,
        kind=best.kind,
        file_name=best.file_name,
        base_name=best.base_name,
        scheduler=next((f.scheduler for f in files if f.scheduler), ""),
        plain_name=plain_name,
        backends=frozenset(on),
    )


def _model_index(models: tuple[Model, ...]) -> NameIndex[Model]:
    hashed = [(m, m.hash or m.sha256[:_SHORT_HASH]) for m in models]
    return NameIndex.build(
        (
            ((m.name, m) for m in models),
            (pair for m, short in hashed for pair in _titles(m, short)),
            (pair for m in models if m.file_name != m.base_name for pair in ((m.file_name, m), (_with_folder(m), m))),
            ((m.base_name, m) for m in models),
            (pair for m, short in hashed for pair in ((short, m), (m.sha256, m))),
        )
    )


def _titles(model: Model, short: str) -> Iterable[tuple[str, Model]]:
    """Every title a backend ever shows for it: its own names, and each of ours with the hash behind it."""
    own = {text for file in model.on.values() for text in (file.title, file.model_name)} if len(model.on) else set()
    for text in own:
        yield text, model
    if short:
        for text in (model.plain_name, model.file_name, _with_folder(model)):
            yield f"{text} [{short}]", model


def _with_folder(model: Model) -> str:
    """The file name behind the folder in our name: `XL/model` and `model.ckpt` give `XL/model.ckpt`."""
    folder, slash, _ = model.plain_name.rpartition("/")
    return f"{folder}{slash}{model.file_name}"


def _merged_samplers(inventories: Iterable[BackendInventory]) -> tuple[Sampler, ...]:
    merged: dict[str, Sampler] = {}
    for inventory in inventories:
        for sampler in inventory.samplers:
            key = folded(sampler.name)
            present = merged.get(key)
            if present is None:
                merged[key] = sampler
            elif not sampler.schedules <= present.schedules:
                merged[key] = Sampler(
                    present.name, present.schedules | sampler.schedules, present.aliases, present.options
                )
    return tuple(merged.values())


def _merged_upscalers(inventories: Iterable[BackendInventory]) -> tuple[Upscaler, ...]:
    """Each once; of one that some backend has on disk, that entry: elsewhere its use would begin with a download."""
    merged: dict[str, Upscaler] = {}
    for upscaler in (u for inventory in inventories for u in inventory.upscalers):
        key = folded(upscaler.name)
        if key not in merged or (merged[key].is_missing and not upscaler.is_missing):
            merged[key] = upscaler
    return tuple(merged.values())


def _first_of_each(things: Iterable[Lora]) -> tuple[Lora, ...]:
    seen: dict[str, Lora] = {}
    for thing in things:
        seen.setdefault(folded(thing.name), thing)
    return tuple(seen.values())


def _merged_names(inventories: Iterable[BackendInventory], kind: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for inventory in inventories:
        for name in getattr(inventory, kind):
            names.setdefault(folded(name), name)
    return names


def _having(inventories: Iterable[BackendInventory]) -> dict[tuple[str, str], frozenset[str]]:
    """(kind, folded name) -> backends that have it, so that a requirement costs one set intersection."""
    having: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    without_weights: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for inventory in inventories:
        for thing in _things_of(inventory):
            having[thing].add(inventory.name)
        for upscaler in inventory.upscalers:
            (without_weights if upscaler.is_missing else having)["upscalers", folded(upscaler.name)].add(inventory.name)
    # Where no backend has the weights, any may still load them down.
    return {thing: frozenset(having.get(thing) or without_weights[thing]) for thing in {*having, *without_weights}}


def _things_of(inventory: BackendInventory) -> Iterable[tuple[str, str]]:
    for sampler in inventory.samplers:
        name = folded(sampler.name)
        yield "samplers", name
        for schedule in sampler.schedules:
            yield f"samplers {schedule}", name
    for lora in inventory.loras:
        yield from (("loras", name) for name in lora_names(lora))
    for kind in (*NAMED_KINDS, EMBEDDINGS):
        yield from ((kind, folded(name)) for name in getattr(inventory, kind))
    for kind in ("txt2img", "img2img"):
        yield from ((kind, folded(name)) for name in getattr(inventory.scripts, kind))
    if inventory.lora_is_safe:
        yield SAFE_LORA, ""
