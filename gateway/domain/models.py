"""Which checkpoint a caller means, and whether it may be used."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.domain.catalogue.granted import is_granted
from gateway.domain.catalogue.merged import Catalogue, Model
from gateway.domain.catalogue.names import file_name_of, folded, nearest, without_hash
from gateway.domain.errors import NotGranted, UnknownModel
from gateway.domain.keys import Grants

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


def shown(text: str) -> str:
    """A caller's word as it may stand in a sentence: short, and of a path only the last part."""
    tail = file_name_of(text) if _ABSOLUTE.match(text) else text
    short = tail if len(tail) <= _SHOWN_CHARACTERS else tail[:_SHOWN_CHARACTERS] + "..."
    return short.encode(errors="replace").decode()


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
    near = nearest(text, (m.name for m in catalogue.models if m.backends and is_granted(m, grants)))
    hint = f' Did you mean "{near}"?' if near else ""
    return UnknownModel(
        f'There is no model "{shown(text)}".{hint} GET /sdapi/v1/sd-models lists what this key may use.'
    )
