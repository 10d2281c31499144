"""Control units, IP adapters and faces: rebuilt by tables of their own, where the operator enables them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.domain.catalogue.names import folded
from gateway.domain.errors import InvalidRequest
from gateway.domain.models import shown
from gateway.domain.parameters.context import Draft
from gateway.domain.parameters.pictures import picture
from gateway.domain.parameters.reading import coerced, decoded, raw_items
from gateway.domain.parameters.table import Does, Kind, Table, flags, floats, raws, table_of, text

_MOST_UNITS = 8
_NOTHING = frozenset({"", "none", "default"})
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class _Form:
    """One kind of nested object: its rows, and which of its texts name something in the catalogue."""

    table: Table
    names: Mapping[str, str]
    picture_lists: frozenset[str] = frozenset()


_CONTROL = _Form(
    table_of(
        text("process", "model", most=200, does=Does.RESOLVE),
        text("unit_type"),
        floats(0, 10, "strength"),
        floats(0, 1, "start", "end"),
        raws("image", "override"),
    ),
    {"process": "preprocessors", "model": "control_models"},
)
_ADAPTER = _Form(
    table_of(
        text("adapter", most=200, does=Does.RESOLVE),
        floats(0, 10, "scale"),
        floats(0, 1, "start", "end"),
        flags("crop"),
        raws("images", "masks"),
    ),
    {"adapter": "ip_adapters"},
    frozenset({"images", "masks"}),
)
# A face's `ip_model` is a name that no list has and that may start a download: it is left to the backend's default.
_FACE = _Form(
    table_of(
        text("mode"),
        text("pm_trigger"),
        flags("ip_override_sampler", "ip_cache_model", "id_cache", "fs_cache"),
        floats(0, 10, "ip_strength", "ip_structure", "id_strength", "id_conditioning", "pm_strength"),
        floats(0, 1, "pm_start"),
        raws("source_images"),
    ),
    {},
    frozenset({"source_images"}),
)


def check_networks(draft: Draft) -> None:
    """The nested objects as they may be sent on; where the operator does not enable them they are dropped and told."""
    operator = draft.context.operator
    for name, is_allowed, form, is_list in (
        ("control_units", operator.allow_control_units, _CONTROL, True),
        ("ip_adapter", operator.allow_ip_adapter, _ADAPTER, True),
        ("face", operator.allow_face, _FACE, False),
        ("face_id", operator.allow_face, _FACE, False),
    ):
        raw = draft.fields.pop(name, None)
        if raw is None or bytes(memoryview(raw)[:3]).replace(b" ", b"") in (b"[]", b"{}"):
            continue
        if not is_allowed:
            draft.tell_loss(name, name)
        elif is_list:
            items = raw_items(raw, name)
            if len(items) > _MOST_UNITS:
                raise InvalidRequest(f"{name} may hold at most {_MOST_UNITS} entries.", name)
            draft.fields[name] = [_rebuilt(draft, item, f"{name}[{i}]", form) for i, item in enumerate(items)]
        else:
            draft.fields[name] = _rebuilt(draft, raw, name, form)


def _rebuilt(draft: Draft, raw: msgspec.Raw, field: str, form: _Form) -> dict[str, Any]:
    try:
        parts = _OBJECT.decode(raw)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        raise InvalidRequest(f"{field} must be an object.", field) from None
    result: dict[str, Any] = {}
    for name, part in parts.items():
        row, path = form.table.get(name), f"{field}.{shown(name)}"
        if row is None:
            draft.tell_loss(field.partition("[")[0], path)
        elif bytes(memoryview(part)[:4]) == b"null":
            continue
        elif name in form.picture_lists:
            result[name] = [picture(draft, item, f"{path}[{i}]")[0] for i, item in enumerate(raw_items(part, path))]
        elif row.kind is Kind.RAW:
            result[name] = picture(draft, part, path)[0]
        elif (value := _named(draft, coerced(row, decoded(part, path)), path, form.names.get(name))) is not None:
            result[name] = value
    return result


def _named(draft: Draft, value: Any, path: str, kind: str | None) -> Any:  # noqa: ANN401
    if kind is None:
        return value
    if folded(value) in _NOTHING:
        return None
    known = draft.context.catalogue.spelling(kind, value)
    if known is None:
        raise InvalidRequest(f'{path}: there is no "{shown(value)}" in the pool.', path)
    draft.things.add((kind, known))
    return known
