from __future__ import annotations

from dataclasses import fields

import pytest
from sqlalchemy import Double

from gateway.adapters.sql import tables
from gateway.domain.backends import Backend
from gateway.domain.managed import AdminToken, Key, Tenant
from gateway.domain.plans import Caps, Plan
from gateway.domain.usage import Record


def names(*kinds):
    return {part.name for kind in kinds for part in fields(kind)}


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        (tables.tenants, names(Tenant)),
        (tables.plans, names(Plan, Caps) - {"caps"} | {"created_at", "version"}),
        (tables.keys, names(Key)),
        # Whether one drains is kept under its name, because a declared backend has no row.
        (tables.backends, names(Backend) - {"is_draining"} | {"old_options", "created_at", "version"}),
        (tables.admin_tokens, names(AdminToken)),
        (tables.ledger, names(Record) | {"day"}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_table_has_a_column_for_every_field_of_its_value_and_no_other(table, columns):
    assert {column.name for column in table.c} == columns


def test_every_time_is_kept_as_seconds_with_fractions():
    times = {
        f"{table.name}.{column.name}": type(column.type)
        for table in tables.METADATA.tables.values()
        for column in table.c
        if column.name.endswith(("_at", "_until")) or column.name == "at"
    }

    assert set(times.values()) == {Double}
    assert len(times) > 10
