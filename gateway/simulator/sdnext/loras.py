"""LoRAs: how they are named in a prompt, which are on disk, and how fusing them damages a checkpoint.

The damage is the reason why a gateway sets the option `lora_fuse_native` to false: by default a second call with the
same LoRA and another strength gets the first strength, and leaves the checkpoint wrong for everybody until it is loaded
anew (observed: the plain prompt then differs by up to 74 of 255, 7 on average).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from gateway.simulator.sdnext.checkpoints import Weights

_TAG = re.compile(r"<lora:([^:<>]++)(?::([^:<>]*+))?[^<>]*+>")  # linear: a server must not stall on a prompt

Strengths: TypeAlias = tuple[tuple[str, float], ...]


@dataclass(slots=True)
class LoraFolder:
    """The LoRA files on disk, by path without extension (`inky`, `styles/inky2`), and what the last scan saw."""

    files: list[str] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)

    def find(self, name: str) -> str | None:
        """The file a tag means: exact and case-sensitive, by path or by bare name; unlisted files count too."""
        return next((f for f in self.files if name in (f, f.rsplit("/", 1)[-1])), None)

    def listing(self) -> list[dict[str, Any]]:
        """The items of `/loras`. Their shape was read in the source, not observed."""
        return [
            {
                "name": path.rsplit("/", 1)[-1],
                "alias": path.rsplit("/", 1)[-1],
                "path": f"/sdnext/data/models/Lora/{path}.safetensors",
                "metadata": {},
            }
            for path in self.listed
        ]

    def rescan(self) -> None:
        """List what is on disk now."""
        self.listed = sorted(self.files)

    def wanted(self, prompt: str) -> Strengths:
        """The LoRAs a prompt asks for with their strengths; unknown names are silently left out."""
        found: dict[str, float] = {}
        for name, strength in _TAG.findall(prompt):
            path = self.find(name)
            if path is not None:
                found[path] = _strength(strength)
        return tuple(sorted(found.items()))


def without_tags(prompt: str) -> str:
    """The prompt as the text encoder sees it."""
    return _TAG.sub("", prompt).strip()


def apply_loras(weights: Weights, wanted: Strengths, *, fuse_native: bool) -> Strengths:
    """The strengths this job really gets; changes `weights` the way SD.Next does.

    (1) Without native fusing the job gets what it asked for and the weights stay as they are.
    (2) A LoRA already fused with another strength keeps the old one, and the weights are damaged.
    (3) Otherwise the old LoRAs are taken out cleanly and the wanted ones fused.
    """
    if not fuse_native:  # (1)
        return wanted
    fused = dict(weights.fused)
    clash = [name for name, strength in wanted if name in fused and fused[name] != strength]
    if clash:  # (2)
        weights.damage += tuple(f"{name}:{fused[name]}>{dict(wanted)[name]}" for name in clash)
        return tuple((name, fused[name] if name in clash else strength) for name, strength in wanted)
    weights.fused = wanted  # (3)
    return wanted


def _strength(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 1.0
