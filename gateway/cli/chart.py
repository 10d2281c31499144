"""Usage as bars in a terminal. Pure: rows in, something rich can print out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import date, timedelta
from typing import TYPE_CHECKING

from gateway.domain.reports import Grouping, UsageRow

if TYPE_CHECKING:
    from rich.table import Table

BAR_CELLS = 40


def chart(groups: Sequence[Grouping], rows: Sequence[UsageRow], measure: str) -> Table:
    """A line for each row with a bar for `measure`, a number of UsageRow: the largest is `BAR_CELLS` long.

    By day alone, days without a job between the first and the last have their line, too.
    """
    from rich import box
    from rich.bar import Bar
    from rich.table import Table
    from rich.text import Text

    shown = _every_day(rows) if tuple(groups) == (Grouping.DAY,) else rows
    most = max((_of(row, measure) for row in shown), default=0.0)
    table = Table(*groups, box=box.SIMPLE_HEAD)
    table.add_column(measure, justify="right", no_wrap=True)
    table.add_column("", width=BAR_CELLS, no_wrap=True)
    for row in shown:
        value = _of(row, measure)
        number = f"{value:,.1f}".removesuffix(".0")
        table.add_row(*map(Text, row.groups), number, Bar(most or 1.0, 0, value, width=BAR_CELLS))
    return table


def measures() -> tuple[str, ...]:
    """What a chart can show."""
    return tuple(field.name for field in fields(UsageRow) if field.name != "groups")


def _of(row: UsageRow, measure: str) -> float:
    return float(getattr(row, measure))


def _every_day(rows: Sequence[UsageRow]) -> list[UsageRow]:
    """The rows in order, with an empty one for each day that has none."""
    by_day = {date.fromisoformat(row.groups[0]): row for row in rows}
    if not by_day:
        return []
    first, last = min(by_day), max(by_day)
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [by_day.get(day, UsageRow((day.isoformat(),))) for day in days]
