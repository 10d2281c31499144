"""What the pool has, as this process knows it: read from the store when its version changes, never asked of a backend.

A backend's lists are published as it sent them, cut down to the fields that are used; every process parses and merges
them
by itself. What a backend had within 24 hours stays published beside what it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from gateway.domain.catalogue import (
    BackendInventory,
    Catalogue,
    Departed,
    departures,
    has_weights,
    merge,
    parse_loras,
    parse_models,
    parse_names,
    parse_samplers,
    parse_scripts,
    parse_upscalers,
)
from gateway.ports import PoolStore

# A pool with lists of that size takes about 0.1 s to read, which every call would feel; 32 servers with 1,000 models
# and LoRAs each take 0.6 s.
_OWN_THREAD_BYTES = 1_000_000

# The backend's lists that make an inventory: route below /sdapi/v1/ -> the fields kept of each entry (None: all of it).
LISTS: dict[str, tuple[str, ...] | None] = {
    "sd-models": ("title", "model_name", "filename", "type", "sha256", "hash"),
    "samplers": ("name", "options", "aliases"),
    "upscalers": ("name", "scale"),
    "loras": ("name", "alias", "path"),
    "sd-vae": ("model_name", "name"),
    "embeddings": None,
    "detailers": ("name",),
    "prompt-styles": ("name",),
    "scripts": None,
}


@dataclass(frozen=True, slots=True)
class Rescan:
    """A backend looked for files anew: no later than `at` by the store's clock, and what wish that fulfilled."""

    wish: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class PublishedInventory:
    """One backend's lists as they stand in the store. `departed`: entries of `sd-models` with when they were
    last seen; `rescan`: the last one before the lists were read.
    """

    lists: dict[str, Any]
    lora_is_safe: bool = False
    read_at: float = 0.0
    departed: list[tuple[dict[str, Any], float]] = field(default_factory=list)
    rescan: Rescan = Rescan()

    @classmethod
    def from_bytes(cls, raw: bytes) -> PublishedInventory:
        """Read what `to_bytes` wrote."""
        return msgspec.json.decode(raw, type=cls)

    def to_bytes(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)

    def inventory(self, name: str) -> BackendInventory:
        """The lists as values."""
        get = self.lists.get
        return BackendInventory(
            name=name,
            models=parse_models(get("sd-models")),
            samplers=parse_samplers(get("samplers")),
            upscalers=parse_upscalers(get("upscalers")),
            loras=parse_loras(get("loras")),
            vaes=parse_names(get("sd-vae")),
            embeddings=parse_names(get("embeddings")),
            detailers=parse_names(get("detailers")),
            styles=parse_names(get("prompt-styles")),
            scripts=parse_scripts(get("scripts")),
            lora_is_safe=self.lora_is_safe,
            options=get("options") or {},
        )

    def after(self, before: PublishedInventory | None, name: str) -> PublishedInventory:
        """These lists, with what `before` had and these have not remembered as departed."""
        if before is None:
            return self
        gone = {departed.model.title for departed in departures(before.inventory(name), self.inventory(name), 0.0)}
        now_here = {_title(entry) for entry in self.lists.get("sd-models", ())}
        lost = [(entry, self.read_at) for entry in before.lists.get("sd-models", ()) if _title(entry) in gone]
        still_lost = [(entry, seen) for entry, seen in before.departed if _title(entry) not in now_here]
        return replace(self, departed=still_lost + lost)


def _title(entry: Mapping[str, Any]) -> str:
    title = entry.get("title")
    return title if isinstance(title, str) else ""


def cut_down(route: str, answer: object) -> Any:  # noqa: ANN401 - JSON of a backend
    """A backend's list with only the fields that are used; whatever is no list of objects is left as it is."""
    fields = LISTS[route]
    if fields is None or not isinstance(answer, list):
        return answer
    entries = [entry for entry in answer if isinstance(entry, dict)]
    kept = [{key: entry[key] for key in fields if key in entry} for entry in entries]
    if route == "upscalers":
        for entry, cut in zip(entries, kept, strict=True):
            cut["has_weights"] = has_weights(entry)  # instead of the path, which is nobody's business
    return kept


class CurrentCatalogue:
    """The merged catalogue and each backend's inventory, replaced as a whole when the store has a newer version.

    `is_known` is set once any backend was ever seen; `on_new_lists` is told of each backend whose lists were read anew.
    """

    def __init__(self) -> None:
        self.catalogue = Catalogue()
        self.inventories: Mapping[str, BackendInventory] = {}
        self.published: Mapping[str, PublishedInventory] = {}
        self.version = ""
        self.is_known = asyncio.Event()
        self.on_new_lists: Callable[[str], None] = lambda _backend: None
        self._names: Mapping[tuple[str, str], str] = {}

    async def refresh(self, pool: PoolStore, version: str, now: float) -> None:
        """Read the store's inventories if `version` is not the one held. May raise StoreUnavailable."""
        if version == self.version:
            return
        raw = await pool.inventories()
        if sum(map(len, raw.values())) > _OWN_THREAD_BYTES:
            self._hold(await asyncio.to_thread(_read, raw, now))
        else:
            self._hold(_read(raw, now))
        self.version = version

    def replace(self, published: Mapping[str, PublishedInventory], now: float) -> None:
        """Hold these inventories from now on."""
        self._hold(_merged(published, now))

    def _hold(self, pool: _Pool) -> None:
        published = pool.published
        anew = [name for name, lists in published.items() if self._was_read_before(name, lists.read_at)]
        self.catalogue, self.inventories, self.published = pool.catalogue, pool.inventories, published
        self._names = pool.names
        if published:
            self.is_known.set()
        for name in anew:
            self.on_new_lists(name)

    def _was_read_before(self, name: str, read_at: float) -> bool:
        return name in self.published and self.published[name].read_at != read_at

    def rescan_of(self, backend: str) -> Rescan:
        """The last rescan before the backend's lists were read."""
        return self.published[backend].rescan if backend in self.published else Rescan()

    def title_of(self, model: str, backend: str) -> str:
        """What the backend calls the catalogue's model, "" if it has it no more."""
        return next((m.on[backend].title for m in self.catalogue.models if m.name == model and backend in m.on), "")

    def name_of(self, backend: str, title: str) -> str:
        """The catalogue's name of what a backend calls `title`, "" if the catalogue does not know it."""
        return self._names.get((backend, title), "")


@dataclass(frozen=True, slots=True)
class _Pool:
    """What all inventories make together; `names` are the catalogue's, by backend and what that calls it."""

    published: Mapping[str, PublishedInventory]
    inventories: Mapping[str, BackendInventory]
    catalogue: Catalogue
    names: Mapping[tuple[str, str], str]


def _read(raw: Mapping[str, bytes], now: float) -> _Pool:
    return _merged({name: PublishedInventory.from_bytes(body) for name, body in raw.items()}, now)


def _merged(published: Mapping[str, PublishedInventory], now: float) -> _Pool:
    inventories = {name: inventory.inventory(name) for name, inventory in published.items()}
    departed = [lost for name, inventory in published.items() for lost in _departed(name, inventory.departed)]
    catalogue = merge(inventories.values(), departed, now)
    names = {(backend, file.title): model.name for model in catalogue.models for backend, file in model.on.items()}
    return _Pool(published, inventories, catalogue, names)


def _departed(backend: str, entries: Sequence[tuple[dict[str, Any], float]]) -> list[Departed]:
    return [Departed(backend, file, last_seen) for entry, last_seen in entries for file in parse_models([entry])]
