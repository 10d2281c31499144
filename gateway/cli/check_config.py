"""`gateway check-config`: whether the configuration can be used, and what it comes to. Contacts nothing."""

from __future__ import annotations

from typing import Any

import typer
from pydantic import SecretStr

from gateway.cli.desk import Json, config_of, show_json, show_rows
from gateway.handover import without_password
from gateway.settings import BackendSettings, Settings, load_settings

GIVEN = "(given)"
_MAY_HOLD_A_PASSWORD = ("redis_url", "database_url")


def check_config(context: typer.Context, as_json: Json = False) -> None:
    """Say what the settings come to, secrets as "(given)"; with mistakes name every one, with status 1."""
    shown = told(load_settings(config_of(context)))
    if as_json:
        show_json(shown)
        return
    show_rows(("setting", "value"), [{"setting": name, "value": value} for name, value in shown.items()])
    typer.echo("The configuration can be used.")


def told(settings: Settings) -> dict[str, Any]:
    """Every setting with its value in force; a credential is never among them."""
    return {name: _told(name, getattr(settings, name)) for name in type(settings).model_fields}


def _told(name: str, value: Any) -> Any:  # noqa: ANN401 - any field's value
    if isinstance(value, SecretStr):
        return GIVEN if value.get_secret_value() else ""
    if name in _MAY_HOLD_A_PASSWORD:
        return without_password(value)
    if isinstance(value, tuple):
        return [_told_backend(item) if isinstance(item, BackendSettings) else str(item) for item in value]
    return value if isinstance(value, bool | int | float) or value is None else str(value)


def _told_backend(backend: BackendSettings) -> str:
    login = " with a password" if backend.password.get_secret_value() else ""
    return f"{backend.name} at {backend.url}{login}{'' if backend.manage else ', not managed'}"
