"""The catalogue's lists as a key sees them, in the shapes that A1111 and SD.Next clients read. No path is in any."""

from __future__ import annotations

from typing import Any

from gateway.domain.catalogue import Catalogue
from gateway.domain.keys import Grants


def models_listed(catalogue: Catalogue, grants: Grants) -> list[dict[str, Any]]:
    """The granted checkpoints: `title` and `model_name` are one and the same name, `filename` has no folder."""
    return [
        {
            "title": model.name,
            "model_name": model.name,
            "hash": model.hash or None,
            "sha256": model.sha256 or None,
            "type": model.kind,
            "filename": model.file_name,
            "config": None,
        }
        for model in catalogue.models
        if model.name in grants.models
    ]
