"""The databases these tests run on."""

from tests.contracts.sql.databases import *  # noqa: F403 - its `__all__` names the fixtures, once
