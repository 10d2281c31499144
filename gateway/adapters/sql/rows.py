"""How each managed value becomes a row and is read back: one `Form` a kind, and everything generic works on those."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, RowMapping, Table

from gateway.adapters.sql import tables
from gateway.domain.backends import Backend
from gateway.domain.forms import grants_as_json, grants_of_json, overrides_as_json, overrides_of_json
from gateway.domain.managed import (
    AdminToken,
    KeptBackend,
    KeptPlan,
    Key,
    Managed,
    Role,
    Tenant,
)
from gateway.domain.plans import Caps, Plan

T = TypeVar("T")

_CAPS = tuple(part.name for part in fields(Caps))
_BACKEND = tuple(part.name for part in fields(Backend) if part.name != "is_draining")
_LIMITS = tuple(part.name for part in fields(Plan) if part.name != "caps")


@dataclass(frozen=True, slots=True)
class Form(Generic[T]):
    """The table of one kind, its id column, all columns that name one, and the two directions."""

    table: Table
    id: ColumnElement[str]
    names: tuple[ColumnElement[str], ...]
    write: Callable[[T], dict[str, Any]]
    read: Callable[[RowMapping], T]


def plan_of(row: RowMapping, name: str = "name") -> Plan:
    """The plan in a row of `plans`; `name` is the column that holds its name, where a join renamed it."""
    limits = {part: row[part] for part in _LIMITS if part != "name"}
    return Plan(name=row[name], **limits, caps=Caps(**{part: row[part] for part in _CAPS}))


def _write_plan(kept: KeptPlan) -> dict[str, Any]:
    limits = asdict(kept.plan)
    return {**limits.pop("caps"), **limits, "created_at": kept.created_at, "version": kept.version}


def _read_plan(row: RowMapping) -> KeptPlan:
    return KeptPlan(plan_of(row), created_at=row["created_at"], version=row["version"])


def _write_tenant(tenant: Tenant) -> dict[str, Any]:
    return {**_flat(tenant), "grants": grants_as_json(tenant.grants)}


def _read_tenant(row: RowMapping) -> Tenant:
    return Tenant(**{**row, "grants": grants_of_json(row["grants"])})


def _write_key(key: Key) -> dict[str, Any]:
    return {
        **_flat(key),
        "grants": grants_as_json(key.grants),
        "overrides": overrides_as_json(key.overrides),
        "addresses": list(key.addresses),
    }


def _read_key(row: RowMapping) -> Key:
    return Key(
        **{
            **row,
            "grants": grants_of_json(row["grants"]),
            "overrides": overrides_of_json(row["overrides"]),
            "addresses": tuple(row["addresses"]),
        }
    )


def _write_backend(kept: KeptBackend) -> dict[str, Any]:
    rest = {"old_options": dict(kept.old_options), "created_at": kept.created_at, "version": kept.version}
    return {**{name: getattr(kept.backend, name) for name in _BACKEND}, **rest}


def _read_backend(row: RowMapping) -> KeptBackend:
    parts = {name: row[name] for name in _BACKEND}
    return KeptBackend(Backend(**parts), row["old_options"], row["created_at"], row["version"])


def _read_token(row: RowMapping) -> AdminToken:
    return AdminToken(**{**row, "role": Role(row["role"])})


def _flat(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the managed dataclasses
    """The fields as they are: `asdict` would copy what lies inside, and cannot copy every mapping."""
    return {part.name: getattr(value, part.name) for part in fields(value)}


_FORMS: Mapping[type[Managed], Form[Any]] = MappingProxyType(
    {
        KeptPlan: Form(tables.plans, tables.plans.c.name, (tables.plans.c.name,), _write_plan, _read_plan),
        Tenant: Form(
            tables.tenants,
            tables.tenants.c.id,
            (tables.tenants.c.id, tables.tenants.c.name),
            _write_tenant,
            _read_tenant,
        ),
        Key: Form(tables.keys, tables.keys.c.id, (tables.keys.c.id, tables.keys.c.prefix), _write_key, _read_key),
        KeptBackend: Form(
            tables.backends, tables.backends.c.name, (tables.backends.c.name,), _write_backend, _read_backend
        ),
        AdminToken: Form(
            tables.admin_tokens,
            tables.admin_tokens.c.id,
            (tables.admin_tokens.c.id, tables.admin_tokens.c.name, tables.admin_tokens.c.prefix),
            _flat,
            _read_token,
        ),
    }
)


def form_of(kind: type[T]) -> Form[T]:
    """How this kind is kept."""
    return _FORMS[kind]  # type: ignore[index]  # only managed kinds are ever asked for
