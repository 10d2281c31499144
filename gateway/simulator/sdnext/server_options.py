"""The server's global options: what `/options` lists and takes, what is secret, and what survives a restart.

The key set of `GET /options` depends on history: all options on a first run without `config.json`, later only paths,
non-defaults and what was set since. Nothing is checked: a wrong type is stored like a right one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.simulator.sdnext.facts import Facts

_NEVER_LISTED = "sd_lora"
_SECRET_SUFFIXES = ("_token", "_key", "_secret", "_password", "_version")
# Not settable by `override_settings` (observed: nine folders and two file name patterns).
_PROTECTED = frozenset(
    {
        "outdir_samples",
        "outdir_txt2img_samples",
        "outdir_img2img_samples",
        "outdir_control_samples",
        "outdir_extras_samples",
        "outdir_grids",
        "outdir_txt2img_grids",
        "outdir_img2img_grids",
        "outdir_control_grids",
        "samples_filename_pattern",
        "directories_filename_pattern",
    }
)


class ServerOptions:
    """The options in memory and, if there is a `state_dir`, in its `config.json` and `secrets.json`."""

    def __init__(self, facts: Facts, state_dir: Path | None) -> None:
        self._facts = facts
        self._state_dir = state_dir
        self._is_first_run = state_dir is not None and not (state_dir / "config.json").exists()
        base = {name: fact.default for name, fact in facts.options.items()} if self._is_first_run else facts.config
        stored, secrets = self._stored("config.json"), self._stored("secrets.json")
        # A secret that stands in config.json at the start is listed in clear for that whole run (observed).
        self._values: dict[str, Any] = {**base, **stored}
        self._set: dict[str, Any] = stored
        self._secrets: dict[str, Any] = secrets

    def get(self, name: str) -> Any:  # noqa: ANN401 - an option holds any JSON value, also of a wrong type
        """The value now, else the default. KeyError for an option SD.Next does not have."""
        if name in self._values:
            return self._values[name]
        return self._secrets.get(name, self._facts.options[name].default)

    def was_set(self, name: str) -> bool:
        """Whether it has a value of its own, given now or in an earlier run."""
        return name in self._set

    def set(self, name: str, value: object) -> bool:
        """Take a value; False, as SD.Next answers, if the option is unknown or has that value already."""
        if name not in self._facts.options or self.get(name) == value:
            return False
        if name.endswith(_SECRET_SUFFIXES):
            self._secrets[name] = value
            self._values.pop(name, None)
            self._set.pop(name, None)
        else:
            self._values[name] = self._set[name] = value
        return True

    def override(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Set what a request overrides; returns the old values to be put back. Unknown and protected keys: nothing."""
        old: dict[str, Any] = {}
        for name, value in settings.items():
            if name not in _PROTECTED and name in self._facts.options and name != "sd_model_checkpoint":
                before = self.get(name)
                if self.set(name, value):
                    old[name] = before
        return old

    def listing(self) -> dict[str, Any]:
        """What `GET /options` answers: secrets that were set are left out, or empty on a first run."""
        listed = dict(self._values)
        if self._is_first_run:
            return {name: listed.get(name, "") for name in (*self._facts.options, *listed) if name != _NEVER_LISTED}
        return listed

    def save(self) -> None:
        """Write to disk what must survive a restart; does nothing without a `state_dir`."""
        if self._state_dir is None:
            return
        self._state_dir.mkdir(parents=True, exist_ok=True)
        (self._state_dir / "config.json").write_text(json.dumps(self._set, indent=2), encoding="utf-8")
        (self._state_dir / "secrets.json").write_text(json.dumps(self._secrets, indent=2), encoding="utf-8")

    def _stored(self, file: str) -> dict[str, Any]:
        path = self._state_dir / file if self._state_dir else None
        if path is None or not path.exists():
            return {}
        loaded = json.loads(path.read_text(encoding="utf-8"))
        return loaded if isinstance(loaded, dict) else {}
