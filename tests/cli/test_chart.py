"""Usage as bars."""

from __future__ import annotations

import io

from rich.console import Console

from gateway.cli.chart import BAR_CELLS, chart, measures
from gateway.domain.reports import Grouping, UsageRow


def drawn(groups, rows, measure="gpu_seconds"):
    output = io.StringIO()
    Console(file=output, width=100).print(chart(groups, rows, measure))
    return [line.split() for line in output.getvalue().splitlines() if line.split() and "──" not in line]


def test_each_day_has_a_bar_as_long_as_its_part_of_the_largest_and_empty_days_a_line():
    rows = [
        UsageRow(("2027-01-14",), jobs=1, gpu_seconds=1234.5),
        UsageRow(("2027-01-11",), jobs=2, gpu_seconds=617.25),
    ]
    assert drawn((Grouping.DAY,), rows) == [
        ["day", "gpu_seconds"],
        ["2027-01-11", "617.2", "█" * (BAR_CELLS // 2)],
        ["2027-01-12", "0"],
        ["2027-01-13", "0"],
        ["2027-01-14", "1,234.5", "█" * BAR_CELLS],
    ]


def test_groups_of_several_things_keep_their_order_and_names_are_shown_as_they_are():
    rows = [UsageRow(("[red]acme", "2027-01-14"), images=8), UsageRow(("other", "2027-01-11"), images=2)]
    assert drawn((Grouping.TENANT, Grouping.DAY), rows, "images") == [
        ["tenant", "day", "images"],
        ["[red]acme", "2027-01-14", "8", "█" * BAR_CELLS],
        ["other", "2027-01-11", "2", "█" * (BAR_CELLS // 4)],
    ]


def test_no_usage_at_all_is_an_empty_chart_and_nothing_used_has_no_bar():
    assert drawn((Grouping.DAY,), []) == [["day", "gpu_seconds"]]
    assert drawn((Grouping.MODEL,), [UsageRow(("red",), jobs=3)])[1:] == [["red", "0"]]


def test_every_number_of_a_row_can_be_shown():
    assert set(measures()) >= {"jobs", "images", "gpu_seconds", "bytes_out"}
    assert "groups" not in measures()
