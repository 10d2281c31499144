"""Placement: the pure scheduler, its values and its policy. Start reading at `scheduler`."""

from __future__ import annotations

from gateway.domain.scheduling.forecast import Forecast, Prospect, forecasting
from gateway.domain.scheduling.outlook import estimate, estimates, explain
from gateway.domain.scheduling.scheduler import TICK_S, Ending, Scheduler
from gateway.domain.scheduling.values import (
    DEFAULT_AGE_BOUND_S,
    BackendView,
    Estimate,
    Explanation,
    Grant,
    Policy,
    Refusal,
    Rule,
    Running,
    Ticket,
)

__all__ = [
    "DEFAULT_AGE_BOUND_S",
    "TICK_S",
    "BackendView",
    "Ending",
    "Estimate",
    "Explanation",
    "Forecast",
    "Grant",
    "Policy",
    "Prospect",
    "Refusal",
    "Rule",
    "Running",
    "Scheduler",
    "Ticket",
    "estimate",
    "estimates",
    "explain",
    "forecasting",
]
