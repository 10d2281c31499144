"""Scripts: only those the operator allows, by name; their arguments hold no path, no URL and no unchecked picture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.domain.catalogue.names import folded
from gateway.domain.errors import InvalidRequest
from gateway.domain.images import may_be_image
from gateway.domain.models import shown
from gateway.domain.parameters.context import Draft
from gateway.domain.parameters.generation import resolved_text
from gateway.domain.parameters.pictures import picture

_NOWHERE = re.compile(r"^\s*(?:[a-zA-Z][a-zA-Z0-9+.-]{1,15}://|upload:|/|\\\\|~|\.\.?[/\\]|[a-zA-Z]:[\\/])")
_LONGEST_TEXT = 4_000
_MOST_ARGUMENTS = 2_000
_SWITCHES = ("enabled", "enable", "is_enabled", "ad_enable")
_MOST_ANGLES = 2_000
_MOST_CHARACTERS = 200_000  # of all texts together: each is looked through for places and tags
_LARGEST_NUMBER = 2**63 - 1


def check_scripts(draft: Draft) -> None:
    """`script_name` with its arguments and `alwayson_scripts`, in the pool's spelling; empty ones go.

    Errors: `InvalidRequest` naming the script that is not allowed, or the argument that cannot be sent on.
    """
    _selected_script(draft)
    asked = draft.fields.pop("alwayson_scripts", None)
    if not asked:
        return
    kept = {}
    for name, body in asked.items():
        arguments = _arguments(name, body)
        if arguments and _are_off(arguments):
            draft.tell(f"alwayson_scripts.{shown(name)}", "dropped: switched off")
        elif arguments:
            known = _allowed(draft, name, draft.context.operator.alwayson_scripts)
            kept[known] = {"args": _checked(draft, arguments, f"alwayson_scripts.{shown(name)}")}
    if kept:
        draft.fields["alwayson_scripts"] = kept


def _selected_script(draft: Draft) -> None:
    name = draft.fields.pop("script_name", "")
    arguments = draft.fields.pop("script_args", [])
    if folded(name) in ("", "none"):
        return
    draft.fields["script_name"] = _allowed(draft, name, draft.context.operator.scripts)
    draft.fields["script_args"] = _checked(draft, arguments, "script_args")


def _arguments(name: str, body: Any) -> Any:  # noqa: ANN401 - a list, or an object in A1111's named form
    if body is None:
        return None
    if not isinstance(body, Mapping):
        raise InvalidRequest(f'alwayson_scripts: "{shown(name)}" must be an object with args.', "alwayson_scripts")
    return body.get("args")


def _are_off(arguments: Any) -> bool:  # noqa: ANN401 - a list, or an object in A1111's named form
    """Whether a script's arguments say that it does nothing: its units are all off, or it is itself.

    Front ends send what their panels hold with every request, also where a panel is switched off.
    """
    if isinstance(arguments, Mapping):
        return any(arguments.get(word) is False for word in _SWITCHES)
    # Anything beside units and a switch is an argument of its own, and the script may do something with it.
    if not isinstance(arguments, list) or not all(isinstance(one, bool | Mapping) for one in arguments):
        return False
    units = [one for one in arguments if isinstance(one, Mapping)]
    if len(units) < len(arguments):
        return bool(units) and arguments[0] is False
    return all(_are_off(unit) for unit in units)


def _allowed(draft: Draft, name: str, allowed: Mapping[str, float]) -> str:
    low = folded(name)
    for known, factor in allowed.items():
        if folded(known) == low:
            draft.factor *= factor
            draft.things.add((draft.operation.value, known))
            return known
    names = ", ".join(sorted(allowed)) or "none"
    raise InvalidRequest(f'The script "{shown(name)}" is not allowed here. Allowed: {names}.', "script_name")


def _checked(draft: Draft, value: Any, field: str) -> Any:  # noqa: ANN401
    """Arguments as they may be sent on: tags resolved, pictures checked, no reference to anything on a server."""
    return _Arguments(draft, field).checked(value)


class _Arguments:
    def __init__(self, draft: Draft, field: str) -> None:
        self._draft, self._field = draft, field
        self._left, self._angles_left, self._characters_left = _MOST_ARGUMENTS, _MOST_ANGLES, _MOST_CHARACTERS

    def checked(self, value: Any) -> Any:  # noqa: ANN401
        self._left -= 1
        if self._left < 0:
            raise InvalidRequest(f"{self._field} has more than {_MOST_ARGUMENTS} values.", self._field)
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.checked(item) for item in value]
        if isinstance(value, int | float) and abs(value) > _LARGEST_NUMBER:
            raise InvalidRequest(f"{self._field} holds a number out of range.", self._field)
        if isinstance(value, dict):
            return {str(name): self.checked(item) for name, item in value.items()}
        return value

    def _text(self, value: str) -> Any:  # noqa: ANN401
        if len(value) > _LONGEST_TEXT or may_be_image(value):
            return picture(self._draft, msgspec.Raw(msgspec.json.encode(value)), self._field)[0]
        self._characters_left -= len(value)
        if self._characters_left < 0:
            raise InvalidRequest(f"{self._field} holds more than {_MOST_CHARACTERS} characters of text.", self._field)
        if _NOWHERE.match(value):
            raise InvalidRequest(f"{self._field} may not hold a URL or a path.", self._field)
        self._angles_left -= value.count(
            "<"
        )  # each may begin a tag, and the time for tags is for all arguments together
        if self._angles_left < 0:
            raise InvalidRequest(f'{self._field} has more than {_MOST_ANGLES} of "<"; write fewer tags.', self._field)
        return resolved_text(self._draft, self._field.partition(".")[0], value)
