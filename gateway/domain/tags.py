"""The tags in a prompt: `<lora:name:weight>` is resolved and spelled exactly, any other `<word:...>` is removed.

SD.Next's own pattern for a tag is `<(\\w+):([^>]+)>`; whatever it would take for a tag is one here. `<` without a
word and a colon is text. A removed tag may uncover another one, so the text is searched until nothing changes.

SD.Next chooses one of `{this|that}` before it looks for tags (its source, `styles.py`), so braces could put a tag
together that nobody has seen here: `<lo{ra|ra}:name>`. Beside braces a `<` of the text is removed, and a tag must be
whole: without `<`, `{`, `|` or `}` in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from gateway.domain.catalogue.inventory import Lora
from gateway.domain.catalogue.merged import Catalogue
from gateway.domain.catalogue.names import nearest
from gateway.domain.errors import InvalidRequest, NotGranted
from gateway.domain.keys import Grants
from gateway.domain.models import shown

_WORD = re.compile(r"<(\w++):")
_MOST_TAGS = 500
_UNSURE = frozenset("<{|}")
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
    if text.count("<") > _MOST_TAGS:
        raise InvalidRequest(f'{field} has more than {_MOST_TAGS} of "<"; write fewer tags.', field)
    found: dict[str, Lora] = {}

    def replace(word: str, rest: str) -> str:
        if word.lower() not in _LORA_WORDS:
            tell(f"<{word}:...>")
            return ""
        name, colon, arguments = rest.partition(":")
        lora = _lora(name.strip(), field, catalogue, grants)
        found[lora.name] = lora
        return f"<lora:{lora.name}{colon}{arguments}>"

    for _ in range(_MOST_PASSES):
        changed = _replaced(text, replace)
        if changed == text:
            return _without_loose(text, field, tell), tuple(found.values())
        text = changed
    raise InvalidRequest(f"{field} has tags within tags; write each <lora:name:weight> by itself.", field)


def respelled(text: str, names: dict[str, str]) -> str:
    """The text with each LoRA tag's name replaced as `names` says; for the backend's own spelling."""

    def replace(word: str, rest: str) -> str:
        name, colon, arguments = rest.partition(":")
        return f"<{word}:{names.get(name, name)}{colon}{arguments}>"

    return _replaced(text, replace)


def outside_tags(text: str, change: Callable[[str], str]) -> str:
    """The text with what stands before, between and behind its tags changed."""
    parts, at = [], 0
    for begin, _, end in _tags(text):
        parts += [change(text[at:begin]), text[begin : end + 1]]
        at = end + 1
    return "".join((*parts, change(text[at:])))


def _tags(text: str) -> Iterator[tuple[int, int, int]]:
    """Where each tag begins, where its word ends, and where it ends (at its `>`).

    Behind the last `>` there is no tag. A scan, as a pattern looks for the `>` anew from every `<`.
    """
    at, last = 0, text.rfind(">")
    while 0 <= (begin := text.find("<", at)) < last:
        word = _WORD.match(text, begin)
        if word is None or text[word.end()] == ">":
            at = begin + 1
            continue
        end = text.index(">", word.end())
        yield begin, word.end() - 1, end
        at = end + 1


def _replaced(text: str, replace: Callable[[str, str], str]) -> str:
    """The text with each tag replaced by what is made of its word and of the rest behind the colon."""
    parts, at = [], 0
    for begin, colon, end in _tags(text):
        parts += [text[at:begin], replace(text[begin + 1 : colon], text[colon + 1 : end])]
        at = end + 1
    return "".join((*parts, text[at:])) if parts else text


def _without_loose(text: str, field: str, tell: Callable[[str], None]) -> str:
    """The text as it is unless it has braces: then without any `<` that begins no tag. Error: `InvalidRequest`."""
    if "{" not in text:
        return text
    if any(not _UNSURE.isdisjoint(text[begin + 1 : end]) for begin, _, end in _tags(text)):
        raise InvalidRequest(f"{field}: a tag may hold no <, {{, | or }} where the text has braces.", field)
    clean = outside_tags(text, lambda part: part.replace("<", ""))
    if clean != text:
        tell("< beside {}")
    return clean


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
