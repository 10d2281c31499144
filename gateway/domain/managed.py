"""What operators manage: tenants, plans, keys, backends and admin tokens as they are kept and written.

Every kept value carries the `version` it was read with; whoever saves an older one gets `EditConflict`. Times are
seconds since the epoch. How these are written as JSON stands in `forms`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

from gateway.domain.backends import Backend
from gateway.domain.errors import CallerError
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


STANDARD_PLAN = "standard"  # every database has it

# --- values --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who pays. `plan` is a plan's name; `grants` bound what any of the tenant's keys may use."""

    id: str
    name: str
    plan: str = STANDARD_PLAN
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
Thing = TypeVar("Thing", bound=Managed)

_WORDS: Mapping[type[Managed], str] = MappingProxyType(
    {
        Tenant: "tenant",
        KeptPlan: "plan",
        Key: "key",
        KeptBackend: "backend",
        AdminToken: "admin token",
    }
)


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
    """A caller with where its key may be used from: CIDRs (empty for anywhere), and in a path (`/k/KEY/...`) or not.

    `is_revoked`: the key is known and ended for good.
    """

    addresses: tuple[str, ...] = ()
    allows_path: bool = False
    is_revoked: bool = False

    def may_call_from(self, address: str) -> bool:
        """Whether the key may be used from this IP address; from anywhere when it has no list.

        With a list, what is no IP address (the peer of a Unix socket has none) is refused.
        """
        if not self.addresses:
            return True
        try:
            found = ip_address(address)
        except ValueError:
            return False
        # A socket for both families names an IPv4 peer ::ffff:192.0.2.7.
        plain = getattr(found, "ipv4_mapped", None) or found
        return any(plain in ip_network(network) for network in self.addresses)


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
