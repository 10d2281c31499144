"""Pages made from the code are the pages that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field, SecretStr
from typer.testing import CliRunner

from gateway.cli.docs import _default, _kind, app
from gateway.settings import BackendSettings, Settings

PAGE = Path(__file__).parents[2] / "docs/settings.md"


def test_the_page_of_settings_is_the_one_made_from_their_types():
    made = CliRunner().invoke(app, ["settings"])
    assert made.exit_code == 0
    assert PAGE.read_text() == made.output, "make it anew: gateway docs settings > docs/settings.md"


def test_every_setting_and_every_field_of_a_backend_has_its_row():
    rows = [line.split("|")[1].strip() for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    settings = [f"`GATEWAY_{name.upper()}`" for name in Settings.model_fields]
    assert rows == [*settings, *(f"`{name}`" for name in BackendSettings.model_fields)]


class Planted(BaseModel):
    text: str
    words: Literal["a", "b"] = "a"
    path: Path | None = None
    secret: SecretStr = SecretStr("")
    flag: bool = False
    names: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ("a", "b")
    seconds: float = Field(default=2.0, ge=0)


@pytest.mark.parametrize(
    ("name", "kind", "default"),
    [
        ("text", "text", "required"),
        ("words", "`a`, `b`", "`a`"),
        ("path", "path", ""),
        ("secret", "secret", ""),
        ("flag", "yes or no", "`false`"),
        ("names", "list", ""),
        ("hosts", "list", "`a,b`"),
        ("seconds", "seconds", "`2.0`"),
    ],
)
def test_kinds_and_defaults_are_written_for_people(name, kind, default):
    field = Planted.model_fields[name]
    assert (_kind(field.annotation), _default(field)) == (kind, default)
