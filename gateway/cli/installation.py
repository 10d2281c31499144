"""Which gateway a command is about: the one whose configuration it is given, else the one that runs in this folder.

Nothing is made by looking. Where nothing says which gateway is meant, `gateway serve`'s data directory and `make run`'s
are looked at. A gateway that runs tells where it keeps things (`gateway.running`); what the command itself was given
wins over that.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gateway.domain.errors import InvalidRequest, StoreUnavailable
from gateway.handover import without_secrets
from gateway.running import Running, running_at
from gateway.settings import BackendSettings, Settings, load_settings

# What says which gateway is meant. `config` may, too, as whatever stands in it.
_SAYS_WHICH = frozenset({"config", "data_dir", "database_url", "redis_url", "namespace"})
_MUST_AGREE = ("database_url", "redis_url", "namespace")
_HERE = (Path("data"), Path(".run"))
_CHOOSE = "name one with --config FILE or GATEWAY_DATA_DIR"


@dataclass(frozen=True, slots=True)
class Installation:
    """The settings to act with, and the sentence that says on what."""

    settings: Settings
    sentence: str


def find_installation(config: Path | None) -> Installation:
    """The installation that is meant.

    Raises SettingsError and RecordUnreadable; StoreUnavailable where a gateway runs whose stores cannot be known,
    InvalidRequest where two run and neither is named.
    """
    own = load_settings(config)
    is_named = not _SAYS_WHICH.isdisjoint(own.model_fields_set)
    data_dirs = [own.data_dir] if is_named else [path.resolve() for path in _HERE]
    found = [running for path in data_dirs if (running := running_at(path)) and _is_meant(own, running)]
    if len(found) > 1:
        both = " and ".join(f"{one.address} (data in {_short(one.values['data_dir'])})" for one in found)
        raise InvalidRequest(f"Two gateways run in this folder, {both}; {_CHOOSE}.")
    if found:
        return Installation(_as_it_runs(own, config, found[0]), _of_running(found[0]))
    kept = own if is_named else own.changed(data_dir=next(filter(_has_database, data_dirs), data_dirs[0]))
    where = "" if kept.redis_url else "no gateway runs here; "  # with a Redis it may run on other machines
    return Installation(kept, f"{where}on {_database(kept)} ({_CHOOSE} to act on another)")


def _is_meant(own: Settings, running: Running) -> bool:
    """Whether what the command was given names no other stores than the running gateway's."""
    given, _ = without_secrets(own)
    return all(given[name] == running.values[name] for name in _MUST_AGREE if name in own.model_fields_set)


def _as_it_runs(own: Settings, config: Path | None, running: Running) -> Settings:
    """The command's settings, completed by the running gateway's; its TOML file may hold what was withheld."""
    open_values = {
        name: value
        for name, value in running.values.items()
        if name not in own.model_fields_set and name not in running.withheld
    }
    known = load_settings(config or (Path(running.config) if running.config else None), **open_values)
    shown, _ = without_secrets(known)
    for name in running.withheld:
        if shown[name] == running.values[name]:
            continue
        if name != "backends":
            raise StoreUnavailable(
                f"The gateway at {running.address} keeps its data at {running.values[name]}, whose password this "
                f"command does not know. Give it the same --config or GATEWAY_{name.upper()}."
            )
        known = known.changed(backends=tuple(map(BackendSettings.model_validate, running.values["backends"])))
    return known


def _of_running(running: Running) -> str:
    return f"on the gateway at {running.address}, data in {_short(running.values['data_dir'])}"


def _has_database(data_dir: Path) -> bool:
    return os.path.exists(data_dir / "gateway.db")  # False, too, where this user may not look


def _database(settings: Settings) -> str:
    if settings.database_url:
        return str(without_secrets(settings)[0]["database_url"])
    return f"the database in {_short(settings.data_dir)}"


def _short(path: str | Path) -> str:
    """A path as it is typed in this folder, where it is in it."""
    path = Path(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
