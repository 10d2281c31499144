"""What a run says at its end: what it did not run, why, and how to run it.

`--fast` runs what needs no process: a fixture that would start one skips its test.
"""

from __future__ import annotations

from collections import Counter

import pytest

# What runs here in a small form, and where the large one is. By the file that must have been run.
LARGER = {
    "tests/chaos/test_chaos.py": "make chaos: ten thousand jobs in place of five hundred",
    "tests/chaos/test_store_troubles.py": "make test TESTS='tests/chaos --away 60': a store that is away for a minute",
    "tests/e2e/test_hostile_bodies.py": "make test-hostile: ten thousand bodies and calls in place of four hundred",
    "tests/e2e/test_live_against_simulated.py": "make live-vs-simulated: three hundred jobs, five times",
    "tests/deploy/test_deploy.py": "make check-deploy: with docker, hadolint and systemd-analyze where they are",
}
ONLY_MEASURED = "make bench, bench-placement, bench-loading, frozen-store: how fast it is, which no test asserts"
STARTS_PROCESSES = "it starts processes, which --fast leaves out"


def needs_processes(request: pytest.FixtureRequest) -> None:
    """Called by a fixture that starts a process."""
    if request.config.getoption("--fast"):
        pytest.skip(STARTS_PROCESSES)


def pytest_terminal_summary(terminalreporter, config) -> None:
    """The section "not run here"."""
    if config.getoption("collectonly"):
        return
    stats = terminalreporter.stats
    reasons = Counter(_reason(report) for report in stats.get("skipped", []))
    ran = {report.nodeid.partition("::")[0] for report in stats.get("passed", []) + stats.get("failed", [])}
    larger = [line for path, line in LARGER.items() if path in ran]
    if not reasons and not larger:
        return
    terminalreporter.section("not run here")
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"{count} test{'s' * (count > 1)}: {reason}")
    for line in [*larger, ONLY_MEASURED] if larger else []:
        terminalreporter.line(line)


def _reason(report) -> str:
    where = report.longrepr
    return (where[2] if isinstance(where, tuple) else str(where)).removeprefix("Skipped: ")
