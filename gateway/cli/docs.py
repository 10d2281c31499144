"""`gateway docs settings`: the page of all settings, made from their types; docs/settings.md is its output."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gateway.settings import SECRETS, BackendSettings, Settings

app = typer.Typer(help="Pages that are made from the code.", no_args_is_help=True)

_HEAD = """# Settings

<!-- Made by `gateway docs settings > docs/settings.md`; a test holds this page to the types. -->

Each setting may be given, the strongest first, as an argument of `gateway serve` (where it has one), as a variable
`GATEWAY_NAME`, as a file named by `GATEWAY_NAME_FILE` (only where the table says so: secrets), or under its name in the
TOML file that `--config` or `GATEWAY_CONFIG` names (`name_file` for a secret's file). An empty variable counts as not
given; an unknown one, or a slip of the pen, is a mistake that stops the start. `gateway check-config` names every
mistake at once and shows what the settings come to.
"""
_BACKENDS = """
## Backends

A backend is a URL, which may hold `user:password@`, or a table:

```toml
[[backends]]
name = "gpu-1"
url = "http://gpu-1:7860"
username = "gateway"
password = "..."
```
"""


@app.callback()
def docs() -> None:
    """Pages that are made from the code."""


@app.command()
def settings() -> None:
    """Write the page of all settings to standard output."""
    typer.echo(settings_page(), nl=False)


def settings_page() -> str:
    """The whole page, as Markdown."""
    own = _table("variable", [(f"`GATEWAY_{name.upper()}`", name, field) for name, field in _fields(Settings)])
    each = _table("name", [(f"`{name}`", "", field) for name, field in _fields(BackendSettings)])
    return f"{_HEAD}\n{own}{_BACKENDS}\n{each}"


def _fields(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    return list(model.model_fields.items())


def _table(first: str, rows: list[tuple[str, str, FieldInfo]]) -> str:
    lines = [f"| {first} | kind | default | file | what it is |", "|---|---|---|---|---|"]
    for shown, name, field in rows:
        file = "yes" if name in SECRETS else ""
        text = " ".join((field.description or "").split()).replace("|", "\\|")
        lines.append(f"| {shown} | {_kind(field.annotation)} | {_default(field)} | {file} | {text} |")
    return "\n".join(lines) + "\n"


def _kind(annotation: Any) -> str:  # noqa: ANN401 - any annotation
    names = {str: "text", int: "number", float: "seconds", bool: "yes or no", Path: "path", SecretStr: "secret"}
    if annotation in names:
        return names[annotation]
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return _kind(next(part for part in get_args(annotation) if part is not type(None)))
    return "list"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, tuple):
        value = ",".join(str(item) for item in value)
    if value in (None, ""):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
