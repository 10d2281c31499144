"""Writes the run down in `docs/benchmarks.md`: its own sections are replaced, all others stay."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_HEAD = """# Benchmarks

Ratios are the result: each table's contenders ran interleaved, within one run.

How: `bench/servers.py` starts an nginx that reads each body whole and sends a prepared answer, and the contenders
before it; wrk sends the calls; CPU is user and system time of all of a contender's processes (/proc), Valkey apart.
Calls under way when a round ends are paid for and not counted: at most as many as there are connections. The machine
is shared, so times of one round differ by a third; compare within one table only.
"""


def write(sections: dict[str, list[str]], result: dict[str, Any], command: str, plot: Path) -> None:
    """Put each section at its place; a section not measured this time is left as it was."""
    text = DOCUMENT.read_text() if DOCUMENT.exists() else _HEAD
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    for name, lines in sections.items():
        if name == "Growth" and plot.exists():
            shutil.copyfile(plot, DOCUMENT.parent / "growth.svg")
            lines = [*lines, "", "![cost per call against what grows](growth.svg)"]
        body = [f"## {name}", "", f"`{command}`, {result['at']}; {versions}", "", *lines, ""]
        text = with_section(text, name, "\n".join(body))
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(text)


def with_section(text: str, name: str, section: str) -> str:
    """`text` with its section of that name replaced, or put before the first section that is not ours."""
    found = re.search(rf"^## {name}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found:
        return text[: found.start()] + section.rstrip("\n") + "\n\n" + text[found.end() :]
    foreign = re.search(r"^## (?!Speed|Memory|Growth)", text, re.MULTILINE)
    at = foreign.start() if foreign else len(text)
    return text[:at].rstrip("\n") + "\n\n" + section.rstrip("\n") + "\n\n" + text[at:]
