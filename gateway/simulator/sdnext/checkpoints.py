"""Which checkpoints lie on disk, which of them SD.Next has seen, and what is in memory. Pure: no clock, no HTTP.

The three differ on purpose: a new file is unseen until a rescan, a deleted one stays listed, and what is loaded may be
neither. A rescan empties the list before it fills it again, and whoever looks meanwhile finds nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

_TITLE = re.compile(r"^(?P<name>.+?)(?: \[(?P<hash>[0-9a-f]{10})\])?$")
_ROOT = "/sdnext/data/models/Diffusers"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One model file as `/sd-models` lists it. `scheduler` is the class of the scheduler it ships."""

    title: str
    name: str
    filename: str
    sha256: str | None
    hash: str | None
    scheduler: str

    @property
    def basename(self) -> str:
        """The last part of the name; all that an infotext ever says about the model."""
        return self.name.rsplit("/", 1)[-1]

    def listing(self) -> dict[str, Any]:
        """The item of `/sd-models`."""
        return {
            "title": self.title,
            "model_name": self.name,
            "filename": self.filename,
            "type": "diffusers",
            "sha256": self.sha256,
            "hash": self.hash,
            "config": None,
        }


def make_checkpoint(title: str, scheduler: str = "EulerDiscreteScheduler") -> Checkpoint:
    """The checkpoint with this title; ten hex digits in brackets make it one of the Hugging Face cache layout."""
    match = _TITLE.match(title)
    name, digest = (match["name"], match["hash"]) if match else (title, None)
    relative = name.removeprefix("Diffusers/")
    if digest is None:
        return Checkpoint(title, name, f"{_ROOT}/{relative}", None, None, scheduler)
    sha256 = ((digest + "abcdef") * 3)[:40]
    filename = f"{_ROOT}/models--{relative.replace('/', '--')}/snapshots/{sha256}"
    return Checkpoint(title, name, filename, sha256, digest, scheduler)


@dataclass(slots=True)
class Weights:
    """A checkpoint in memory.

    `poisoned`: unloaded under a running job, it counts as loaded and makes nothing for ever. `fused` is the LoRAs
    (name, strength) melted into the weights, `damage` what fusing has broken; only loading anew mends either.
    """

    checkpoint: Checkpoint
    poisoned: bool = False
    fused: tuple[tuple[str, float], ...] = ()
    damage: tuple[str, ...] = ()


@dataclass(slots=True)
class Shelf:
    """The files, what the last scan saw of them, and what is loaded."""

    files: dict[str, Checkpoint] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    listed: list[Checkpoint] = field(default_factory=list)
    loaded: Weights | None = None

    def find(self, name: str) -> Checkpoint | None:
        """By title, name, file name, hash or bare basename: what a request's own field and `POST /options` accept."""
        return self.find_alias(name) or next((c for c in self.listed if c.basename == name), None)

    def find_alias(self, name: str) -> Checkpoint | None:
        """By exact title, name, file name or hash only: all that `override_settings` accepts."""
        return next((c for c in self.listed if name and name in (c.title, c.name, c.filename, c.hash)), None)

    def is_readable(self, checkpoint: Checkpoint) -> bool:
        """Whether loading it would work: it is still on disk and not broken."""
        return checkpoint.title in self.files and checkpoint.title not in self.broken

    def add_file(self, checkpoint: Checkpoint) -> None:
        """Put a file on disk; it is listed after the next rescan."""
        self.files[checkpoint.title] = checkpoint
        self.broken.discard(checkpoint.title)

    def delete_file(self, title: str) -> bool:
        """Take a file off the disk; it stays listed until the next rescan. False if there was none."""
        return self.files.pop(title, None) is not None

    def break_file(self, title: str) -> bool:
        """Damage a file on disk, so that loading it fails. False if there is none."""
        if title not in self.files:
            return False
        self.broken.add(title)
        return True

    def forget_list(self) -> None:
        """The first half of a rescan: nothing is listed."""
        self.listed = []

    def relist(self, count: int | None = None) -> None:
        """The second half: the first `count` files of the disk are listed, all of them if None."""
        found = sorted(self.files.values(), key=lambda c: c.title.lower())
        self.listed = found if count is None else found[:count]
