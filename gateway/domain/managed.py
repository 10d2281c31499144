"""What operators manage: tenants, plans, keys, backends and admin tokens as they are kept and written.

Every kept value carries the `version` it was read with; whoever saves an older one gets `EditConflict`. The JSON forms
of grants and overrides are read and written here and nowhere else. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from gateway.domain.backends import Backend
from gateway.domain.errors import CallerError, InvalidRequest
from gateway.domain.keys import Caller, Grants, Names
from gateway.domain.overrides import Overrides
from gateway.domain.plans import Plan

# --- facts ---------------------------------------------------------------------------------------


class EditConflict(CallerError):
    """Somebody else changed the same thing since it was read; nothing was written."""

    def __init__(self, kind: str, name: str, version: int) -> None:
        self.kind, self.name, self.version = kind, name, version
        super().__init__(f'The {kind} "{name}" is no longer at version {version}. Read it again and repeat the change.')


class NameTaken(CallerError):
    """There already is one of this kind with that name; nothing was written."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(f'There already is a {kind} called "{name}". Choose another name, or change that one.')


class UnknownName(CallerError):
    """None of this kind has that name or id. `nearest` are names that look alike, best first."""

    def __init__(self, kind: str, name: str, nearest: Sequence[str] = ()) -> None:
        self.kind, self.name, self.nearest = kind, name, tuple(nearest)
        hint = (
            f" Did you mean {' or '.join(self.nearest)}?" if nearest else f" The list of {kind}s shows what there is."
        )
        super().__init__(f'There is no {kind} "{name}".{hint}')


# --- values --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who pays. `plan` is a plan's name; `grants` bound what any of the tenant's keys may use."""

    id: str
    name: str
    plan: str = "standard"
    grants: Grants = field(default_factory=Grants)
    created_at: float = 0.0
    version: int = 1


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """A plan as it is kept; its name is its id."""

    plan: Plan
    created_at: float = 0.0
    version: int = 1

    @property
    def id(self) -> str:
        """The plan's name."""
        return self.plan.name

    @property
    def name(self) -> str:
        """The plan's name."""
        return self.plan.name


@dataclass(frozen=True, slots=True)
class Key:
    """A credential of a tenant, without its secret. `addresses` are CIDRs the key may be used from, empty for any.

    After a rotation the secret before opens the key too, until `old_valid_until`.
    """

    id: str
    tenant_id: str
    name: str
    digest: str = field(repr=False)
    prefix: str
    old_digest: str | None = field(default=None, repr=False)
    old_prefix: str = ""
    old_valid_until: float | None = None
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None
    grants: Grants = field(default_factory=Grants)
    overrides: Overrides = field(default_factory=Overrides)
    default_model: str = ""
    addresses: tuple[str, ...] = ()
    allows_path: bool = False
    version: int = 1


@dataclass(frozen=True, slots=True)
class KeptBackend:
    """A backend of the pool as it is kept. `old_options` are the values the gateway found and puts back on removal."""

    backend: Backend
    old_options: Mapping[str, Any] = field(default_factory=dict)
    created_at: float = 0.0
    version: int = 1

    @property
    def id(self) -> str:
        """The backend's name."""
        return self.backend.name

    @property
    def name(self) -> str:
        """The backend's name."""
        return self.backend.name


class Role(StrEnum):
    """What an admin token may do: everything, or look only."""

    ADMIN = "admin"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True)
class AdminToken:
    """A credential for the admin interface; never a tenant's key."""

    id: str
    name: str
    digest: str = field(repr=False)
    prefix: str
    role: Role = Role.ADMIN
    created_at: float = 0.0
    revoked_at: float | None = None
    version: int = 1


Managed: TypeAlias = Tenant | KeptPlan | Key | KeptBackend | AdminToken

_WORDS: Mapping[type[Managed], str] = {
    Tenant: "tenant",
    KeptPlan: "plan",
    Key: "key",
    KeptBackend: "backend",
    AdminToken: "admin token",
}


def word_for(kind: type[Any]) -> str:
    """What people call this kind of thing."""
    return _WORDS[kind]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who changed what, and when. `detail` maps each changed field to its new value, never a secret or a digest."""

    at: float
    who: str
    action: str
    kind: str
    target: str
    detail: Mapping[str, Any] = field(default_factory=dict)


class SpeedOf(StrEnum):
    """What a learned speed is of."""

    CHECKPOINT = "checkpoint"
    UPSCALER = "upscaler"
    SWAP = "swap"


@dataclass(frozen=True, slots=True)
class Speed:
    """A learned speed: seconds per megapixel-step (checkpoint), per output megapixel (upscaler) or per load (swap)."""

    backend: str
    of: SpeedOf
    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class BoundCaller(Caller):
    """A caller with where its key may be used from: CIDRs (empty for anywhere), and in a path (`/k/KEY/...`) or not."""

    addresses: tuple[str, ...] = ()
    allows_path: bool = False


# --- grants --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Narrowed(Names):
    """Names that must be in this set and in `within`: a key's grants inside its tenant's."""

    within: Names = field(default_factory=Names)

    def __contains__(self, name: object) -> bool:
        return Names.__contains__(self, name) and name in self.within


def narrowed(grants: Grants, within: Grants) -> Grants:
    """What a key may use whose tenant may use `within`: a name must be in both."""
    return Grants(
        _both(grants.models, within.models),
        _both(grants.upscalers, within.upscalers),
        _both(grants.loras, within.loras),
    )


def _both(names: Names, within: Names) -> Names:
    return names if within == Names() else Narrowed(names.allow, names.deny, within)


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
