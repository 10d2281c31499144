from __future__ import annotations

import io
import sys

import pytest

from gateway.cli.desk import cell, show_rows


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("name", "acme", "acme"),
        ("name", "", "-"),
        ("name", None, "-"),
        ("grants", {}, "-"),
        ("addresses", [], "-"),
        ("addresses", ["a", "b"], "a, b"),
        ("created_at", 0.0, "1970-01-01 00:00:00"),
        ("at", 86_400.5, "1970-01-02 00:00:00"),
        ("old_valid_until", 60, "1970-01-01 00:01:00"),
        ("is_managed", False, "no"),
        ("allows_path", True, "yes"),
        ("weight", 1.0, "1"),
        ("weight", 0.125, "0.125"),
        ("images", 0, "0"),
        ("overrides", {"force": {"steps": 1}}, '{"force": {"steps": 1}}'),
    ],
)
def test_a_value_is_shown_as_people_read_it(name, value, text):
    assert cell(name, value) == text


def test_a_table_that_is_no_terminal_is_never_cut_off(capsys):
    show_rows(("a", "b"), [{"a": "x" * 300, "b": "[bold]y"}])

    assert capsys.readouterr().out.splitlines() == ["a" + " " * 301 + "b", "x" * 300 + "  [bold]y"]


def shown_at_a_terminal(monkeypatch, row):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    show_rows(tuple(row), [row])
    return terminal.getvalue()


def test_a_table_at_a_terminal_shows_values_as_they_are(monkeypatch):
    shown = shown_at_a_terminal(monkeypatch, {"name": "acme", "value": "[bold]x"})

    assert "acme" in shown
    assert "[bold]x" in shown
    assert len(shown.splitlines()) > 3  # lines around it


def test_a_table_too_wide_for_its_terminal_keeps_every_value_whole(monkeypatch):
    row = {"job_id": "0" * 36, "model": "juggernautXL_v9.safetensors", "why": "4 busy; 2 swap not worth it yet"}

    heads, values = shown_at_a_terminal(monkeypatch, row).splitlines()

    assert heads.split() == ["job_id", "model", "why"]
    assert values.split("  ") == list(row.values())
