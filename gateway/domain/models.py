"""Which checkpoint a caller means, and whether it may be used."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.domain.catalogue.merged import Catalogue, Model
from gateway.domain.catalogue.names import file_name_of, folded, nearest, without_hash
from gateway.domain.errors import NotGranted, UnknownModel
from gateway.domain.keys import Grants, Names

NO_MODEL = frozenset({"", "none"})
"""What callers write for "no model named", folded."""

_ABSOLUTE = re.compile(r"^(?:/|[a-zA-Z]:[\\/]|\\\\)")
_SHOWN = 5
_SHOWN_CHARACTERS = 120


def resolve_model(text: str, catalogue: Catalogue, grants: Grants, aliases: Mapping[str, str]) -> Model:
    """The granted checkpoint that `text` names.

    Levels: title, title with hash, file name, base name, hash or sha256, operator's alias; at the first level that has
    any, exact before loose. Of several there, the only granted one counts. Errors: `UnknownModel` for none or several,
    `NotGranted` when all are someone else's.
    """
    hits = _hits(text, catalogue) or _hits(_aliased(text, aliases), catalogue)
    if not hits:
        raise _unknown(text, catalogue, grants)
    granted = [model for model in hits if is_granted(model, grants)]
    if len(granted) == 1:
        return granted[0]
    if not granted:
        raise NotGranted("model", shown(text))
    names = ", ".join(f'"{model.name}"' for model in granted[:_SHOWN])
    raise UnknownModel(f'The model "{shown(text)}" could be any of {names}. Name one of these.')


def is_granted(model: Model, grants: Grants) -> bool:
    """Whether the key may use it. A denied name is also denied to a namesake that is listed as `name [hash]`."""
    if model.name not in grants.models:
        return False
    return model.plain_name == model.name or model.plain_name in Names(deny=grants.models.deny)


def only_granted(catalogue: Catalogue, grants: Grants) -> Model | None:
    """The one checkpoint this key may use, None when there are none or several."""
    found: Model | None = None
    for model in catalogue.models:
        if is_granted(model, grants):
            if found is not None:
                return None
            found = model
    return found


def any_granted(catalogue: Catalogue, grants: Grants) -> bool:
    """Whether this key may use any checkpoint of the pool."""
    return any(is_granted(model, grants) for model in catalogue.models)


def shown(text: str) -> str:
    """A caller's word as it may stand in a sentence: short, and of a path only the last part."""
    tail = file_name_of(text) if _ABSOLUTE.match(text) else text
    return tail if len(tail) <= _SHOWN_CHARACTERS else tail[:_SHOWN_CHARACTERS] + "..."


def _hits(text: str, catalogue: Catalogue) -> tuple[Model, ...]:
    if not text:
        return ()
    hits = catalogue.model_index.hits(text)
    if hits:
        return hits
    if _ABSOLUTE.match(text):  # SD.Next's own client names models by their path: only the file name counts
        return catalogue.model_index.hits(file_name_of(text))
    plain = without_hash(text)
    if plain == text:
        return ()
    # SD.Next learns a hash late: a title with one is right as long as ours has none to compare.
    return tuple(model for model in catalogue.model_index.hits(plain) if not model.hash and not model.sha256)


def _aliased(text: str, aliases: Mapping[str, str]) -> str:
    if not aliases:
        return ""
    low = folded(text)
    return aliases.get(text) or next((name for alias, name in aliases.items() if folded(alias) == low), "")


def _unknown(text: str, catalogue: Catalogue, grants: Grants) -> UnknownModel:
    near = nearest(text, (model.name for model in catalogue.models), grants.models)
    hint = f' Did you mean "{near}"?' if near else ""
    return UnknownModel(
        f'There is no model "{shown(text)}".{hint} GET /sdapi/v1/sd-models lists what this key may use.'
    )
