"""The configuration as types: arguments, then `GATEWAY_*` variables, then `GATEWAY_*_FILE`, then one TOML file.

Only this file and `handover` read the environment. Whatever is wrong is told at once, each with the setting's name and
the way out, and no message ever holds a value that could be a secret. A setting's docstring is its documentation.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.domain.keys import has_key_form
from gateway.domain.mendable import Mendable

_PREFIX = "GATEWAY_"
_ORIGIN = r"^(\*|none|null|[a-z][a-z0-9+.-]*://[^/\s]+)$"
_TWICE = "it is set both itself and as a file (_FILE); keep one of the two"
# What Kubernetes sets in every container of a namespace that has a service called "gateway".
_NOT_OURS = re.compile(r"GATEWAY_(SERVICE_.*|PORT_\d+_.*)")
# May be given as GATEWAY_X_FILE, or x_file in the TOML file; a URL is one because it may hold a password.
SECRETS = frozenset({"redis_url", "database_url", "backends", "admin_token", "first_key", "demo_key", "demo_key_2"})


class SettingsError(Mendable):
    """The configuration cannot be used; `problems` are sentences, each with a setting's name and the way out."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("The configuration cannot be used:\n" + "\n".join(f"  - {problem}" for problem in problems))


class BackendSettings(BaseModel):
    """One SD.Next server. Written as a table, or as a URL that may hold `user:password@`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = ""
    """What it is called in logs, metrics and commands; host and port of the URL when empty."""
    url: str
    """Where it answers, for example `http://gpu-1:7860`; a path before `/sdapi` may follow."""
    username: str = ""
    """User name for HTTP Basic, empty if it asks for none."""
    password: SecretStr = SecretStr("")
    """Password for HTTP Basic."""
    manage: bool = True
    """Whether the gateway may change its options, rescan its files and unload its models."""

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, value: Any) -> Any:  # noqa: ANN401 - whatever stands in the file
        given = {"url": value} if isinstance(value, str) else value
        if not isinstance(given, Mapping) or not isinstance(given.get("url"), str):
            return given
        parts = urlsplit(given["url"].strip())
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("a backend's URL begins with http:// or https:// and names a host")
        address = parts.netloc.rpartition("@")[2]
        taken = {"name": address, "username": unquote(parts.username or ""), "password": unquote(parts.password or "")}
        url = urlunsplit((parts.scheme, address, parts.path.rstrip("/"), "", ""))
        return taken | {key: part for key, part in given.items() if part != ""} | {"url": url}


class Settings(BaseSettings):
    """Everything an operator can choose. Frozen; made by `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    config: Path | None = None
    """The TOML file the other settings may stand in (also `--config`)."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """The address to listen on; `0.0.0.0` or `::` for every interface."""
    port: int = Field(default=8080, ge=1, le=65535)
    """The TCP port to listen on, 1 to 65535."""
    workers: int = Field(default=1, ge=1, le=64)
    """How many gateway processes share the port, 1 to 64."""
    namespace: str = Field(default="gateway", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")
    """The name of this gateway in Redis: letters, digits, `_` and `-`; two gateways in one Redis need two names."""
    data_dir: Path = Path("data")
    """The directory for the SQLite file and the embedded Valkey's data, made when missing; one gateway each."""
    redis_url: str = Field(default="", repr=False)
    """Redis >= 7 or Valkey, as `redis://`, `rediss://` or `unix://`; when empty an embedded Valkey is started."""
    database_url: str = Field(default="", repr=False)
    """`postgresql://user:password@host/name` or `sqlite:///path`; when empty a SQLite file in the data directory."""
    backends: Annotated[tuple[BackendSettings, ...], NoDecode] = ()
    """The SD.Next servers of the pool: tables in the TOML file; in the environment URLs separated by commas."""
    default_model: str = ""
    """The model for calls that name none and whose key has no own default; when empty such calls are refused."""
    caption_models: Annotated[tuple[str, ...], NoDecode] = ()
    """Models of `caption` and `interrogate` (`ViT-L-14/openai, wd-eva02-large-tagger-v3`); without any both are 404."""
    admin_token: SecretStr = SecretStr("")
    """The credential of `/admin`, at least 20 characters; when empty `/admin` does not exist."""
    first_key: SecretStr = SecretStr("")
    """The key of a first tenant, made at start when there is no tenant yet: `sk-` and 17 or more of A-Z a-z 0-9 _ -."""
    demo_key: SecretStr = SecretStr("")
    """The key of the demo's first tenant, who may use every model; random when empty. Only for `gateway demo`."""
    demo_key_2: SecretStr = SecretStr("")
    """The key of the demo's second tenant, who may use one model; random when empty. Only for `gateway demo`."""
    demo_model_2: str = ""
    """The one model of the demo's second tenant; chosen by the demo when empty. Only for `gateway demo`."""
    drain_delay_s: float = Field(default=10.0, ge=0, le=600)
    """Seconds after SIGTERM in which calls are still accepted while `/readyz` is 503, so that balancers notice."""
    grace_s: float = Field(default=120.0, ge=0, le=3600)
    """Seconds that waiting and running calls may go on after listening has ended; then they are answered 503."""
    lease_s: float = Field(default=10.0, ge=1, le=15)
    """Seconds after which what a lost process held (slots, outstanding jobs) is given back, 1 to 15."""
    store_timeout_s: float = Field(default=0.4, ge=0.1, le=60)
    """Seconds that a call waits for Redis at most, being sent again included, until it is refused with 503."""
    byte_budget_mb: int = Field(default=512, ge=64, le=65536)
    """Megabytes of bodies and answers in one process, a tenant at most as much as stays free; then bodies wait, 503."""
    key_calls_per_minute: int = Field(default=6_000, ge=60, le=1_000_000_000)
    """Calls a minute of one key for lists, options, progress, `explain` and `png-info` in one process; then 429."""
    address_calls_per_minute: int = Field(default=6_000, ge=60, le=1_000_000_000)
    """Calls a minute without a key from one address in one process (but not `/livez`, `/readyz`); then 429."""
    trusted_proxies: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = ()
    """Networks (CIDR) whose `X-Forwarded-For` is believed; in the environment separated by commas."""
    cors_origins: Annotated[tuple[Annotated[str, Field(pattern=_ORIGIN)], ...], NoDecode] = ("*",)
    """Origins (`https://app.example`) whose pages may call, with commas between; `*` for all, `none` for none."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """The port of `/metrics` of the first worker, each further worker has the next one; 0 for none."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log lines to write."""
    log_format: Literal["json", "console"] = "json"
    """`json` for machines, `console` for a person at a terminal."""
    app: str = Field(default="gateway.asgi:create_app", pattern=r"^[\w.]+:\w+$")
    """The factory of the ASGI application, `module:function`; another one than ours is for tests of the launcher."""
    alone: bool = Field(default=False, validate_default=True)
    """Says that no other gateway uses this Redis, so that a SQLite file beside an external Redis is safe."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources, the strongest first."""
        return init_settings, _OtherVariables(settings_cls), env_settings, _TomlFile(settings_cls)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_what_could_not_be_read(cls, value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, _Unreadable):
            raise ValueError(value.sentence)
        return value

    @field_validator("port", mode="before")
    @classmethod
    def _refuse_a_kubernetes_link(cls, value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, str) and value.startswith("tcp://"):
            raise ValueError(
                "Kubernetes set it for a service called gateway; "
                "set GATEWAY_PORT in the container, or enableServiceLinks: false in the pod"
            )
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: str) -> str:
        if value and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("a Redis URL begins with redis://, rediss:// or unix://")
        return value

    @field_validator("database_url")
    @classmethod
    def _database_scheme(cls, value: str) -> str:
        scheme, separator, rest = value.partition("://")
        drivers = {"postgres": "postgresql+asyncpg", "postgresql": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}
        if not value or (separator and scheme in drivers.values()):
            return value
        if scheme not in drivers or not separator:
            raise ValueError("a database URL begins with postgresql:// or sqlite:///")
        return f"{drivers[scheme]}://{rest}"

    @field_validator("backends", mode="before")
    @classmethod
    def _list_of_backends(cls, value: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return _parsed_json(value)
        return [part.strip() for part in value.split(",") if part.strip()]

    @field_validator("backends")
    @classmethod
    def _names_differ(cls, value: tuple[BackendSettings, ...]) -> tuple[BackendSettings, ...]:
        names = [backend.name for backend in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two backends are called {', '.join(twice)}; give each its own name")
        return value

    @field_validator("trusted_proxies", "cors_origins", "caption_models", mode="before")
    @classmethod
    def _list_of_words(cls, value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("cors_origins")
    @classmethod
    def _some_origin(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:  # a worker, who gets no empty setting, would take it for the default
            raise ValueError("the list is empty")
        return value

    @field_validator("admin_token")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < 20:  # noqa: PLR2004 - the sentence says it
            raise ValueError("it has fewer than 20 characters; give a longer one")
        return value

    @field_validator("first_key", "demo_key", "demo_key_2")
    @classmethod
    def _key_form(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not has_key_form(value.get_secret_value()):
            raise ValueError("a key is sk- followed by 17 or more of A-Z a-z 0-9 _ -; give one of that form")
        return value

    @field_validator("alone")
    @classmethod
    def _nobody_shares_redis_without_the_database(cls, value: bool, info: ValidationInfo) -> bool:
        # Here and not in a validator of the whole, which would run only once nothing else is wrong.
        shared_redis, database = info.data.get("redis_url", ""), info.data.get("database_url", "postgresql:")
        if shared_redis and not database.startswith("postgresql") and not value:
            raise ValueError(
                "redis_url names a Redis that others can use while tenants and keys stand in a SQLite file only this "
                "machine sees; set database_url to a PostgreSQL, or alone to true if no other gateway uses that Redis"
            )
        return value

    @property
    def sql_url(self) -> str:
        """The database in SQLAlchemy's form, with its async driver: `database_url`, or a SQLite file in `data_dir`."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'gateway.db'}"

    def changed(self, **changes: Any) -> Self:  # noqa: ANN401 - field values
        """The same with some fields replaced; the values are trusted, not checked again."""
        return self.model_copy(update=changes)


def load_settings(config: Path | None = None, **arguments: Any) -> Settings:  # noqa: ANN401 - field values
    """The settings in force: arguments that are not None, environment, secret files, TOML file, defaults.

    `config` names the TOML file, else GATEWAY_CONFIG does. Raises SettingsError with every problem.
    """
    given = {name: value for name, value in {**arguments, "config": config}.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError([_sentence(problem) for problem in error.errors(include_url=False)]) from None


class _Unreadable:
    """Stands for a value whose source could not be read; validation turns it into one problem among the others."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence


class _OtherVariables(PydanticBaseSettingsSource):
    """`GATEWAY_X_FILE` for every secret X; and all unknown `GATEWAY_*` names, so that a slip of the pen is told."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not used: this source answers for all fields at once."""
        raise NotImplementedError(field_name)

    def __call__(self) -> dict[str, Any]:
        """Values by setting's name."""
        values: dict[str, Any] = {}
        for variable, value in os.environ.items():  # noqa: TID251 - the one place that may
            if not variable.startswith(_PREFIX) or _NOT_OURS.fullmatch(variable) or not value:
                continue
            name = variable.removeprefix(_PREFIX).lower()
            if name in self.settings_cls.model_fields:
                continue
            secret = name.removesuffix("_file")
            if secret != name and secret in SECRETS:
                twice = os.environ.get(_PREFIX + secret.upper())  # noqa: TID251
                values[secret] = _read_secret(variable, value) if not twice else _Unreadable(_TWICE)
            else:
                values[name] = _Unreadable("")
        return values


class _TomlFile(PydanticBaseSettingsSource):
    """The TOML file that a stronger source names as `config`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not used: this source answers for all fields at once."""
        raise NotImplementedError(field_name)

    def __call__(self) -> dict[str, Any]:
        """Values by setting's name. SettingsError when the file cannot be read: nothing else can be said then."""
        path = self.current_state.get("config")
        if path is None:
            return {}
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SettingsError([f"config ({path}): {reason}. Name a readable TOML file or leave it out."]) from None
        for name in [name for name in values if name.endswith("_file")]:
            if (secret := name.removesuffix("_file")) in SECRETS:
                values[secret] = _read_secret(name, values.pop(name))
        return values


def _read_secret(source: str, path: str) -> str | _Unreadable:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        return _Unreadable(f"the file named by {source} cannot be read ({reason}); name a readable one")


def _parsed_json(text: str) -> Any:  # noqa: ANN401 - whatever it holds
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"it begins as a JSON list and is not one ({error}); give JSON, or URLs with commas") from None


def _sentence(problem: ErrorDetails) -> str:
    """One problem for the operator: the setting under both its names, what is wrong, what it should be."""
    first, *rest = problem["loc"]
    where = str(first) + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)
    if problem["type"] == "extra_forbidden":
        known = list(BackendSettings.model_fields if rest else Settings.model_fields)
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        return f"{where} (or {_PREFIX}{str(first).upper()}): there is no such setting. " + (
            f"Did you mean {close[0]}?" if close else "Remove it."
        )
    what = problem["msg"].removeprefix("Value error, ").rstrip(".")
    described = Settings.model_fields[str(first)].description or ""
    return f"{where} (or {_PREFIX}{str(first).upper()}): {what}. What it is: {described}"
