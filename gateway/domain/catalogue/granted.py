"""Which checkpoints of the pool a key may use."""

from __future__ import annotations

from gateway.domain.catalogue.merged import Catalogue, Model
from gateway.domain.keys import Grants, Names


def is_granted(model: Model, grants: Grants) -> bool:
    """Whether the key may use it. A denied name is also denied to a namesake that is listed as `name [hash]`."""
    if model.name not in grants.models:
        return False
    return model.plain_name == model.name or model.plain_name in Names(deny=grants.models.deny)


def any_granted(catalogue: Catalogue, grants: Grants) -> bool:
    """Whether this key may use any checkpoint of the pool."""
    return any(is_granted(model, grants) for model in catalogue.models)


def only_granted(catalogue: Catalogue, grants: Grants) -> Model | None:
    """The one checkpoint this key may use, None when there are none or several."""
    found: Model | None = None
    for model in catalogue.models:
        if is_granted(model, grants):
            if found is not None:
                return None
            found = model
    return found
