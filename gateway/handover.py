"""What a process passes on to its children: never a secret by environment or command line, where others can read it.

A process's first environment stays readable in /proc for as long as it lives, by every process of the same user, and is
copied into reports and dumps. So a child is started with a few harmless variables; a worker is told the rest over a
descriptor.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from pydantic import SecretStr

from gateway.settings import Settings

# All that a child's interpreter, its libraries and its output may need before it has been told anything. Everything
# else (OTEL_EXPORTER_OTLP_HEADERS, PGPASSWORD, HTTPS_PROXY, ...) may hold a secret, and a process's first environment
# can be read for as long as it lives.
_HARMLESS = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|PWD|TZ|TERM|COLUMNS|LINES|NO_COLOR|TMPDIR|TEMP|TMP|LANG|LANGUAGE|LC_\w+|LD_\w+|"
    r"DYLD_\w+|MALLOC_\w+|PYTHON\w+|VIRTUAL_ENV|SSL_CERT_FILE|SSL_CERT_DIR|XDG_RUNTIME_DIR"
)
_PLACES = ("namespace", "data_dir", "redis_url", "database_url", "backends", "alone")
_ADDRESSES = ("redis_url", "database_url")


def handed_over(settings: Settings) -> str:
    """What a worker needs of this process, secrets included, as JSON for `taken_over`: the settings, whole and
    resolved, and the variables that `environment_of_child` leaves out. To be given by a descriptor only.
    """
    values = settings.model_dump(exclude={"config"})
    kept = environment_of_child()
    rest = {name: value for name, value in environment_without_settings().items() if name not in kept}
    return json.dumps({"settings": values, "environment": rest}, default=_in_clear)


def taken_over(text: str) -> Settings:
    """The settings in what `handed_over` made; the variables in it are those of this process from now on.

    A variable that is set after the start does not show in /proc/PID/environ.
    """
    given = json.loads(text)
    os.environ.update(given["environment"])  # noqa: TID251 - the one place that may
    return Settings(**given["settings"])


def without_secrets(settings: Settings) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Where a gateway keeps things, as JSON without any secret; and the names of those settings that had one."""
    given = settings.model_dump(mode="json", include=set(_PLACES))
    shown = {**given, "backends": [{**one, "password": ""} for one in given["backends"]]}
    shown |= {name: without_password(given[name]) for name in _ADDRESSES if has_password(given[name])}
    # Where there is a password its dump is asterisks, where there is none "".
    return shown, tuple(name for name in _PLACES if shown[name] != given[name])


def has_password(url: str) -> bool:
    """Whether an address holds one, before its host or among its parameters."""
    login = url.partition("://")[2].partition("?")[0].rpartition("@")[0]
    return ":" in login or "pass" in url.partition("?")[2].lower()


def without_password(url: str) -> str:
    """The address with `***` for whatever stands between its user and its host, and without its parameters."""
    scheme, separator, rest = url.partition("://")
    login, at, address = rest.partition("?")[0].rpartition("@")
    user = login.partition(":")[0]
    return f"{scheme}{separator}{user}{':***' if ':' in login else ''}{at}{address}"


def environment_of_child() -> dict[str, str]:
    """What a child is started with: what its interpreter and its paths need, and nothing that may hold a secret."""
    return {name: value for name, value in environment_without_settings().items() if _HARMLESS.fullmatch(name)}


def environment_without_settings() -> dict[str, str]:
    """The environment without GATEWAY_*: what other programs' variables say."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}  # noqa: TID251


def _in_clear(value: Any) -> Any:  # noqa: ANN401 - any field's value
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
