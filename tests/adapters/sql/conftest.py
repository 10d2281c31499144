"""The databases these tests run on."""

from __future__ import annotations

from tests.contracts.sql.databases import (
    bookkeeper,
    database,
    empty_url,
    key_store,
    ledger,
    migrated_file,
    migrated_template,
    new_url,
    postgres,
    url,
)

__all__ = [
    "bookkeeper",
    "database",
    "empty_url",
    "key_store",
    "ledger",
    "migrated_file",
    "migrated_template",
    "new_url",
    "postgres",
    "url",
]
