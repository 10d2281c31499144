"""The only place where adapters meet the flow."""

from gateway.adapters.sql.migrate import Schema
from gateway.adapters.sql.migrate import check as check_schema
from gateway.adapters.sql.migrate import migrate as migrate_schema
from gateway.wiring.common import backends_of, open_log, wall_clock
from gateway.wiring.desk import (
    open_backends,
    open_management,
    open_onlooker,
    open_outbox,
    open_pruner,
    open_reconciler,
    open_slots,
)
from gateway.wiring.serving import Services, open_services

__all__ = [
    "Schema",
    "Services",
    "backends_of",
    "check_schema",
    "migrate_schema",
    "open_backends",
    "open_log",
    "open_management",
    "open_onlooker",
    "open_outbox",
    "open_pruner",
    "open_reconciler",
    "open_services",
    "open_slots",
    "wall_clock",
]
