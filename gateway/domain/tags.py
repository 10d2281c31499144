"""The tags in a prompt: `<lora:name:weight>` is resolved and spelled exactly, any other `<word:...>` is removed.

SD.Next's own pattern for a tag is `<(\\w+):([^>]+)>`; whatever it would take for a tag is one here. `<` without a
word and a colon is text. A removed tag may uncover another one, so the text is searched until nothing changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.domain.catalogue.inventory import Lora
from gateway.domain.catalogue.merged import Catalogue
from gateway.domain.catalogue.names import nearest
from gateway.domain.errors import InvalidRequest, NotGranted
from gateway.domain.keys import Grants
from gateway.domain.models import shown

_TAG = re.compile(r"<(\w+):([^>]+)>")
_LORA_WORDS = frozenset({"lora", "lyco"})
_MOST_PASSES = 8


def resolve_tags(
    text: str, field: str, catalogue: Catalogue, grants: Grants, tell: Callable[[str], None]
) -> tuple[str, tuple[Lora, ...]]:
    """The text with exact LoRA names, and the LoRAs in it. `tell` gets each removed tag's form.

    Errors: `InvalidRequest` of `field` for an unknown LoRA, naming the nearest, or for too many tags; `NotGranted`.
    """
    if "<" not in text:
        return text, ()
    found: dict[str, Lora] = {}

    def replace(match: re.Match[str]) -> str:
        word, rest = match[1], match[2]
        if word.lower() not in _LORA_WORDS:
            tell(f"<{word}:...>")
            return ""
        name, colon, arguments = rest.partition(":")
        lora = _lora(name.strip(), field, catalogue, grants)
        found[lora.name] = lora
        return f"<lora:{lora.name}{colon}{arguments}>"

    for _ in range(_MOST_PASSES):
        # Behind the last ">" there is no tag; searching there would take quadratic time over "<a:<a:<a:...".
        end = text.rfind(">") + 1
        changed = _TAG.sub(replace, text[:end]) + text[end:]
        if changed == text:
            return text, tuple(found.values())
        text = changed
    raise InvalidRequest(f"{field} has tags within tags; write each <lora:name:weight> by itself.", field)


def respelled(text: str, names: dict[str, str]) -> str:
    """The text with each LoRA tag's name replaced as `names` says; for the backend's own spelling."""

    def replace(match: re.Match[str]) -> str:
        name, colon, arguments = match[2].partition(":")
        return f"<{match[1]}:{names.get(name, name)}{colon}{arguments}>"

    return _TAG.sub(replace, text)


def _lora(name: str, field: str, catalogue: Catalogue, grants: Grants) -> Lora:
    hits = catalogue.lora_index.hits(name)
    if not hits:
        near = nearest(name, (lora.name for lora in catalogue.loras if lora.name in grants.loras))
        hint = f' Did you mean "{near}"?' if near else " GET /sdapi/v1/loras lists what this key may use."
        raise InvalidRequest(f'{field}: there is no LoRA "{shown(name)}".{hint}', field)
    granted = next((lora for lora in hits if lora.name in grants.loras), None)
    if granted is None:
        raise NotGranted("LoRA", shown(name))
    return granted
