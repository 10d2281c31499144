"""How what is managed is written down: JSON forms that are read and written here and nowhere else, and what may stand
in them.

Every function that refuses raises InvalidRequest with the field at fault and a sentence that says what would do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from ipaddress import ip_network
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from gateway.domain.errors import InvalidRequest
from gateway.domain.keys import Grants, Names
from gateway.domain.managed import KeptBackend, KeptPlan, Key, Managed, Tenant, Thing
from gateway.domain.overrides import Overrides
from gateway.domain.plans import Caps, Plan

# --- grants --------------------------------------------------------------------------------------


def grants_as_json(grants: Grants) -> dict[str, Any]:
    """`{"models": {"allow": [...], "deny": [...]}, "upscalers": ..., "loras": ...}`."""
    return {
        kind: {"allow": list(names.allow), "deny": list(names.deny)}
        for kind, names in (("models", grants.models), ("upscalers", grants.upscalers), ("loras", grants.loras))
    }


def grants_of_json(value: Any) -> Grants:  # noqa: ANN401 - any JSON; this function says what is wrong with it
    """Grants written as `grants_as_json` writes them; an absent kind is `*`, a bare list is what is allowed.

    InvalidRequest says which part cannot be used.
    """
    _check_words(value, {"models", "upscalers", "loras"}, "grants")
    return Grants(**{kind: _names_of(part, kind) for kind, part in value.items()})


def _names_of(value: Any, kind: str) -> Names:  # noqa: ANN401 - any JSON
    if isinstance(value, list):
        return Names(allow=_globs(value, f"grants.{kind}"))
    _check_words(value, {"allow", "deny"}, f"grants.{kind}")
    return Names(**{side: _globs(globs, f"grants.{kind}.{side}") for side, globs in value.items()})


def _globs(value: Any, where: str) -> tuple[str, ...]:  # noqa: ANN401 - any JSON
    if not isinstance(value, list) or not all(isinstance(glob, str) and glob for glob in value):
        raise InvalidRequest(f'{where} must be a list of names or globs, such as ["*"] or ["sdxl*"].', field="grants")
    return tuple(value)


# --- overrides -----------------------------------------------------------------------------------

_OVERRIDE_WORDS = frozenset({"force", "default", "forbid", "minimum", "maximum"})


def overrides_as_json(overrides: Overrides) -> dict[str, Any]:
    """`{"force": {}, "default": {}, "forbid": [], "minimum": {}, "maximum": {}}` without what is empty."""
    written: dict[str, Any] = {
        "force": dict(overrides.force),
        "default": dict(overrides.default),
        "forbid": sorted(overrides.forbid),
        "minimum": dict(overrides.minimum),
        "maximum": dict(overrides.maximum),
    }
    return {word: part for word, part in written.items() if part}


def overrides_of_json(value: Any) -> Overrides:  # noqa: ANN401 - any JSON; this function says what is wrong with it
    """Overrides from JSON: `{"force", "default", "forbid", "minimum", "maximum"}`, or a bare object of forced values.

    A mixture of both is InvalidRequest, as is a bound that is no finite number or a minimum above its maximum.
    """
    if not isinstance(value, dict):
        raise InvalidRequest('Overrides must be a JSON object, such as {"force": {"steps": 20}}.', field="overrides")
    _check_is_json(value)
    words = _OVERRIDE_WORDS & value.keys()
    if not words:
        return Overrides(force=value)
    _check_words(value, _OVERRIDE_WORDS, "overrides")
    overrides = Overrides(
        force=_object(value, "force"),
        default=_object(value, "default"),
        forbid=_forbidden(value.get("forbid", [])),
        minimum=_bounds(value, "minimum"),
        maximum=_bounds(value, "maximum"),
    )
    for name in overrides.minimum.keys() & overrides.maximum.keys():
        if overrides.minimum[name] > overrides.maximum[name]:
            raise InvalidRequest(f"overrides: the minimum of {name} is above its maximum.", field="overrides")
    return overrides


def _check_is_json(value: Any) -> None:  # noqa: ANN401 - what claims to be JSON
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest("Overrides must be plain JSON without NaN or Infinity.", field="overrides") from error


def _object(value: Mapping[str, Any], word: str) -> dict[str, Any]:
    part = value.get(word, {})
    if not isinstance(part, dict):
        raise InvalidRequest(f"overrides.{word} must be an object of parameters and values.", field="overrides")
    return part


def _forbidden(value: Any) -> frozenset[str]:  # noqa: ANN401 - any JSON
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InvalidRequest("overrides.forbid must be a list of parameter names.", field="overrides")
    return frozenset(value)


def _bounds(value: Mapping[str, Any], word: str) -> dict[str, float]:
    bounds = _object(value, word)
    for name, bound in bounds.items():
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not abs(bound) < float("inf"):
            raise InvalidRequest(f"overrides.{word}.{name} must be a number.", field="overrides")
    return bounds


def _check_words(value: Any, known: set[str] | frozenset[str], where: str) -> None:  # noqa: ANN401 - any JSON
    if not isinstance(value, dict):
        raise InvalidRequest(f"{where} must be a JSON object with any of {', '.join(sorted(known))}.", field=where)
    if unknown := sorted(value.keys() - known):
        raise InvalidRequest(
            f"{where}: {', '.join(map(str, unknown))} cannot stand here; known are {', '.join(sorted(known))}.",
            field=where,
        )


# --- whole things --------------------------------------------------------------------------------

_CAPS = frozenset(part.name for part in fields(Caps))
_LIMITS = frozenset(part.name for part in fields(Plan)) - {"name", "caps"}
_EDITABLE: Mapping[type[Any], frozenset[str]] = MappingProxyType(
    {
        Tenant: frozenset({"name", "plan", "grants"}),
        KeptPlan: _LIMITS | _CAPS,
        Key: frozenset({"name", "expires_at", "grants", "overrides", "default_model", "addresses", "allows_path"}),
        KeptBackend: frozenset({"url", "username", "password", "is_managed"}),
    }
)
_SECRET_FIELDS = frozenset({"digest", "old_digest", "password"})
_KEPT_ELSEWHERE = frozenset({"is_draining"})
_NAME = re.compile(r"[\w][\w .@+-]{0,63}")
_MOST = 10**9  # above any limit that makes sense, below what a column holds
_MAY_BE_ZERO = frozenset({"max_queued", "max_wait_s", "keep_alive_s"})


def described(thing: Managed) -> dict[str, Any]:
    """All there is to tell of it, as plain JSON with one level for plans and backends; never a secret or a digest."""
    if isinstance(thing, KeptPlan):
        return {**_told(thing.plan), "created_at": thing.created_at, "version": thing.version}
    if isinstance(thing, KeptBackend):
        rest = {"old_options": dict(thing.old_options), "created_at": thing.created_at, "version": thing.version}
        return {**_told(thing.backend), **rest}
    return _told(thing)


def _told(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the managed dataclasses
    told: dict[str, Any] = {}
    for part in fields(value):
        if part.name == "caps":
            told.update(_told(value.caps))
        elif part.name not in _SECRET_FIELDS | _KEPT_ELSEWHERE:
            told[part.name] = plain(getattr(value, part.name))
    return told


def plain(value: Any) -> Any:  # noqa: ANN401 - a field of any managed value
    """The field's value as plain JSON."""
    if isinstance(value, Grants):
        return grants_as_json(value)
    if isinstance(value, Overrides):
        return overrides_as_json(value)
    return list(value) if isinstance(value, tuple) else value


def changed(thing: Thing, changes: Mapping[str, Any]) -> Thing:
    """The same with these fields set; a plan's and its caps' fields, and a backend's, by their own names."""
    editable = _EDITABLE.get(type(thing), frozenset())
    if unknown := sorted(changes.keys() - editable):
        known = ", ".join(sorted(editable))
        raise InvalidRequest(f"{', '.join(unknown)} cannot be set; what can be: {known}.", field=unknown[0])
    if isinstance(thing, KeptPlan):
        caps = replace(thing.plan.caps, **{name: value for name, value in changes.items() if name in _CAPS})
        limits = {name: value for name, value in changes.items() if name in _LIMITS}
        return replace(thing, plan=replace(thing.plan, **limits, caps=caps))
    if isinstance(thing, KeptBackend):
        return replace(thing, backend=replace(thing.backend, **changes))
    return replace(thing, **changes)


def check(thing: Managed) -> None:
    """Refuse a value that could not be kept or used."""
    check_name(thing.name)
    _check_texts(thing.backend if isinstance(thing, KeptBackend) else thing)
    if isinstance(thing, KeptPlan):
        _check_plan(thing.plan)
    elif isinstance(thing, Key):
        _check_addresses(thing.addresses)
    elif isinstance(thing, KeptBackend):
        _check_url(thing.backend.url)


def check_name(name: str) -> None:
    """Refuse what could not be typed in a shell or a path, or would be mistaken for something else."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f'"{name}" cannot be a name: up to 64 letters, digits, spaces and any of . _ @ + - starting with a letter'
            " or digit.",
            field="name",
        )


def _check_texts(value: Any) -> None:  # noqa: ANN401 - any of the managed dataclasses
    """No database keeps NUL or half a character, and nothing shown in a list may hold a line's end."""
    for part in fields(value):
        text = getattr(value, part.name)
        if isinstance(text, str) and not text.isprintable():
            raise InvalidRequest(f"{part.name} must not hold control characters.", field=part.name)


def _check_plan(plan: Plan) -> None:
    for part in (*fields(Plan), *fields(Caps)):
        if part.name not in ("name", "caps"):
            value = getattr(plan if part.name in _LIMITS else plan.caps, part.name)
            _check_limit(part.name, value, is_whole="float" not in str(part.type))


def _check_limit(name: str, value: Any, *, is_whole: bool) -> None:  # noqa: ANN401 - whatever was sent
    is_quota = name.endswith(("_per_day", "_per_month"))
    if value is None and is_quota:
        return
    kinds = int if is_whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value <= _MOST:
        raise InvalidRequest(f"{name} must be a {'whole ' * is_whole}number from 0 to {_MOST}.", field=name)
    if value == 0 and not is_quota and name not in _MAY_BE_ZERO:
        raise InvalidRequest(f"{name} must be above 0.", field=name)


def _check_addresses(addresses: tuple[str, ...]) -> None:
    for address in addresses:
        try:
            ip_network(address)
        except ValueError as error:
            raise InvalidRequest(
                f'"{address}" is no address or network: write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32.',
                field="addresses",
            ) from error


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a broken IPv6 address
        is_address = False
    if not is_address or parts.query or parts.fragment or url.endswith("/"):
        raise InvalidRequest(f'"{url}" is no address of a server: write http://host:7860, no slash after.', field="url")
    if parts.username or parts.password:
        raise InvalidRequest("The user name and password go into their own fields, not into the URL.", field="url")
