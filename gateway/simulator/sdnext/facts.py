"""Facts about SD.Next kept as data files: fields, options, samplers, upscalers, flags, listings.

Read once per simulated server and handed on; nobody else opens the files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class OptionFact:
    """One server option: its default, its JSON type, the section it is shown in and whether the UI hides it."""

    default: Any
    type: str
    section: str | None
    hidden: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What SD.Next 058a7f0cf is known to contain.

    `fields` maps `txt2img` and `img2img` to field name -> (type code, default), in the order replies echo them.
    `config` is what `GET /options` lists on any run but the first. `samplers` maps a name to its options, `upscalers` a
    name to the address its weights come from (None: needs none).
    """

    fields: dict[str, dict[str, tuple[str, Any]]]
    options: dict[str, OptionFact]
    config: dict[str, Any]
    samplers: dict[str, dict[str, Any]]
    schedulers: list[dict[str, Any]]
    upscalers: dict[str, str | None]
    cmd_flags: dict[str, Any]
    listings: dict[str, Any]


def load_facts() -> Facts:
    """The facts that ship with the package. Raises OSError or ValueError if the installation is damaged."""
    return Facts(
        fields={kind: {k: (c, d) for k, (c, d) in _read(f"{kind}_fields").items()} for kind in ("txt2img", "img2img")},
        options={name: OptionFact(*values) for name, values in _read("options").items()},
        config=_read("config"),
        samplers=_read("samplers"),
        schedulers=_read("schedulers"),
        upscalers=_read("upscalers"),
        cmd_flags=_read("cmd_flags"),
        listings=_read("listings"),
    )


def _read(name: str) -> Any:  # noqa: ANN401 - the files differ in shape; `Facts` gives each its type
    return json.loads(resources.files(__package__).joinpath("data", f"{name}.json").read_text(encoding="utf-8"))
